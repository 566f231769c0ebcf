"""Snapshots of Linux from before KVM is loaded: what they are keyed by, and a run of two KVMs out of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from emulators.bochs.program import BochsProgram
from emulators.host.errors import silent
from emulators.host.files import cache_folder
from emulators.hosted.appliance import before_kvm, snapshot
from emulators.hosted.appliance.build import Appliance, Layout
from emulators.hosted.appliance.kernel import fetch
from emulators.hosted.appliance.kernel_files import Kernel, module_bytes, module_name
from emulators.hosted.appliance.linuxboot import FlatKernel
from emulators.hosted.appliance.snapshot import Shape
from emulators.hosted.appliance.start import Hosting

NOWHERE = Path("/nowhere")
FLAT = FlatKernel(image=b"", address=0, entry=0, setup_header=b"")
LAYOUT = Layout(kernel=FLAT, kernel_sectors=0, initramfs=0, initramfs_sectors=0)


def hosting(kvm: str, *parameters: str, traced: bool = False) -> Hosting:
    kernel = Kernel(
        release="6.1", package="x", vmlinuz=NOWHERE, modules=(), sha256="a", kvm=(NOWHERE / "kvm.ko",), kvm_sha256=kvm
    )
    appliance = Appliance(folder=NOWHERE, key="k", kernel=kernel, layout=LAYOUT)
    program = BochsProgram(version="3.0", argv=("bochs",), bios=NOWHERE, vga_bios=NOWHERE)
    return Hosting(appliance=appliance, program=program, model="m", parameters=parameters, traced=traced)


def test_linux_is_saved_once_for_every_kvm_and_its_parameters() -> None:
    shape = Shape(argv=("qemu",), disk_bytes=1, guest_mib=64)

    def keys(one: Hosting, guest_mib: int = 64) -> tuple[str, str]:
        same = msgspec.structs.replace(shape, guest_mib=guest_mib)
        return before_kvm._key(one, {"disk.img": b"x"}, guest_mib, 1), snapshot._key(one, same)

    linux, whole = keys(hosting("one"))
    for other in (hosting("two"), hosting("one", "kvm_intel.ept=0")):
        assert keys(other)[0] == linux and keys(other)[1] != whole
    assert keys(hosting("one", traced=True))[0] != linux and keys(hosting("one"), 128)[0] != linux


@pytest.mark.proof
@pytest.mark.hosted
def test_two_kvms_are_loaded_into_one_linux(tmp_path: Path) -> None:
    """The distribution's own modules, and the same with one byte more, with a parameter that the second is given."""
    kernel = fetch("6.1", cache_folder(), silent)
    seen = []
    for name, more, parameters in (("one", b"", ()), ("two", b"\0", ("--kvm-param", "pml=0"))):
        folder = tmp_path / name
        folder.mkdir()
        for path in kernel.modules:
            if module_name(path) in ("kvm", "kvm-intel"):
                (folder / f"{module_name(path)}.ko").write_bytes(module_bytes(path) + more)
        results = str(tmp_path / "results")
        run = [sys.executable, "-m", "difftest.cli", "run", "ept-pdpte-load", "-t", "kvm-hosted", "--kernel"]
        argv = [*run, str(folder), *parameters, "--confirm", "none", "--results", results]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no warm start" not in done.stdout + done.stderr
        report = [sys.executable, "-m", "difftest.cli", "report", "--json", "--results", results]
        shown = json.loads(subprocess.run(report, capture_output=True, check=True).stdout)
        seen.append([(row["check"], row["verdict"]) for row in shown["results"]])
    assert seen[0] == seen[1] and ("not-present", "subject-wrong") in seen[0]
