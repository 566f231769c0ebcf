"""KVM of this host: its device, its CPU, and what its modules are set to."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

IGNORE_MSRS = Path("/sys/module/kvm/parameters/ignore_msrs")


def cpu_flags() -> frozenset[str]:
    match = re.search(r"^flags\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return frozenset(match.group(1).split() if match else ())


def host_cpu() -> str:
    match = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return match.group(1) if match else "unknown"


def nested_vmx() -> bool:
    """Whether KVM here gives its guests VMX: Intel hardware, and kvm_intel loaded with nested=Y."""
    parameter = Path("/sys/module/kvm_intel/parameters/nested")
    with contextlib.suppress(OSError):
        return "vmx" in cpu_flags() and parameter.read_text().strip() in ("Y", "1")
    return False


def ignores_msrs() -> bool:
    with contextlib.suppress(OSError):
        return IGNORE_MSRS.read_text().strip() in ("Y", "1")
    return False


def kvm_device() -> str:
    if not Path("/dev/kvm").exists():
        return "there is none"
    modules = sorted(path.name for path in Path("/sys/module").glob("kvm*"))
    return f"modules: {', '.join(modules)}"


def _cpuinfo() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""
