"""What QEMU's -cpu asks for, as CPU models of all targets that have it, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

DEFAULT = "corei7_haswell_4770"  # of Bochs, as the reference and under KVM
HOST = "host,vmx=on"  # of KVM, which gives what is under it

_SANDY = frozenset(["vmx", "pcid", "tsc-deadline", "xsave", "rdtscp"])
_IVY = _SANDY | frozenset(["x2apic", "smep"])
_HASWELL = _IVY | frozenset(["tsc_adjust", "invpcid"])
_BROADWELL = _HASWELL | {"smap"}
_CANNON = _BROADWELL | frozenset(["umip", "pku"])
# The models of Bochs, the default first, and what each has in CPUID of the features that tests ask for or do without.
# As CPUID of Bochs 2.7 and 3.0 says.
BOCHS: Mapping[str, frozenset[str]] = {
    DEFAULT: _HASWELL,
    "broadwell_ult": _BROADWELL,
    "corei3_cnl": _CANNON,
    "tigerlake": _CANNON | frozenset(["shstk", "ibt"]),
    "corei7_ivy_bridge_3770k": _IVY,
    "corei7_sandy_bridge_2600k": _SANDY,
    "corei5_arrandale_m520": frozenset(["vmx", "rdtscp"]),
    "core2_penryn_t9600": frozenset(["vmx", "xsave"]),
}
EMULATED = frozenset(["x2apic", "tsc-deadline", "tsc_adjust", "umip"])  # KVM gives these whatever is under it
# Models of QEMU that mean whatever there is: tests name the features that they need besides.
_ANY = ("", "max", "host", "qemu64", "qemu32", "kvm64", "kvm32")
_NAMED = {
    "IvyBridge": ("IvyBridge,vmx=on", "corei7_ivy_bridge_3770k"),
    "Opteron_G1": ("Opteron_G1", "athlon64_clawhammer"),
}
_ABOUT_QEMU = ("migratable", "host-phys-bits", "vendor", "check", "enforce", "kvm")


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """CPU models by target; or, in `missing`, why the test cannot run."""

    models: dict[str, str] = {}
    missing: str = ""


def models(wanted: str) -> Models:
    """The CPU models for a value of -cpu."""
    base, *options = wanted.split(",")
    on, off, vendor = set[str](), set[str](), ""
    for option in options:
        name, _, value = option.strip().lstrip("+-").partition("=")
        if option.startswith("-") or value in ("off", "no"):
            off.add(name)
        elif name == "vendor":
            vendor = value
        elif value in ("", "on", "yes"):
            on.add(name)
        else:
            return Models(missing=f"-cpu {option}: Bochs has no such setting")
    on, off = on - set(_ABOUT_QEMU), off - set(_ABOUT_QEMU)
    if hyperv := sorted(name for name in on if name.startswith("hv")):
        return Models(missing=f"-cpu {hyperv[0]}: Hyper-V's interface is of KVM alone")
    if "svm" in on:
        return Models(missing="it needs SVM, and KVM's CPU has VMX")
    if nested := sorted(name for name in on if name.startswith("vmx-")):
        return Models(missing=f"it needs {nested[0]}, which {DEFAULT} under hosted KVM does not have")
    off = {name for name in off if not name.startswith("vmx-")}
    if base in _NAMED:
        kvm, bochs = _NAMED[base]
        return Models(models=_both(",".join([kvm, *([f"vendor={vendor}"] if vendor else [])]), bochs))
    if base not in _ANY:
        return Models(missing=f"-cpu {base}: no model of Bochs is like it")
    if vendor not in ("", "GenuineIntel"):
        return Models(missing=f"-cpu vendor={vendor}: the models are Intel's")
    if lacking := sorted(on - BOCHS[DEFAULT] - EMULATED):
        return Models(missing=f"it needs {', '.join(lacking)}, which {DEFAULT} under hosted KVM does not have")
    fit = [name for name, has in BOCHS.items() if on <= has and not off & has]
    if not fit:
        words = [*(f"with {name}" for name in sorted(on)), *(f"without {name}" for name in sorted(off))]
        return Models(missing=f"no CPU model of Bochs is {' and '.join(words)}")
    without = sorted(off & (BOCHS[DEFAULT] | EMULATED))
    kvm = ",".join([HOST, *(f"-{name}" for name in without)])
    return Models(models=_both(kvm if without else "", fit[0] if fit[0] != DEFAULT else ""))


def _both(kvm: str, bochs: str) -> dict[str, str]:
    return {**({"bochs": bochs} if bochs else {}), **({"kvm": kvm, "kvm-hosted": kvm} if kvm else {})}
