"""What this host can do, what is missing, and the command that gets it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import msgspec

from difftest.image.grub import GRUB, INSTALL
from emulators.registry import KVM_TARGETS, REFERENCE
from emulators.target import Emulator, Requirement


class Diagnosis(msgspec.Struct, frozen=True):
    """One target (or the tester itself) and what it needs."""

    name: str
    needs: list[Requirement]

    @property
    def usable(self) -> bool:
        return all(need.met for need in self.needs)


def examine(targets: Mapping[str, Emulator]) -> list[Diagnosis]:
    """The tester's own needs first, then those of images in their many forms and of warm starts, then each target's."""
    own = [
        Requirement(
            "tesseract", shutil.which("tesseract") is not None, "reads the screens", "apt-get install tesseract-ocr"
        ),
        Requirement("compiler", shutil.which("gcc") is not None, "builds the cases", "apt-get install gcc binutils"),
    ]
    grub = shutil.which("grub-mkimage") is not None and (GRUB / "boot.img").exists()
    images = [
        Requirement("GRUB", grub, "boots multiboot kernels", INSTALL),
        Requirement(
            "qemu-img", shutil.which("qemu-img") is not None, "unpacks VMDK and qcow2", "apt-get install qemu-utils"
        ),
        Requirement("xz", shutil.which("xz") is not None, "unpacks images", "apt-get install xz-utils"),
    ]
    saves = "has Bochs save a booted Linux; kvm-hosted boots one for each run without it"
    warm = [Requirement("xdotool", shutil.which("xdotool") is not None, saves, "apt-get install xdotool")]
    return [
        Diagnosis("difftest", own),
        Diagnosis("images", images),
        Diagnosis("warm starts", warm),
        *(Diagnosis(target.name, target.requirements()) for target in targets.values()),
    ]


def can_compare(diagnoses: list[Diagnosis]) -> bool:
    """Whether a run is possible here: the tester, the reference, and one KVM."""
    usable = {diagnosis.name for diagnosis in diagnoses if diagnosis.usable}
    return {"difftest", REFERENCE} <= usable and any(name in usable for name in KVM_TARGETS)


def packages(diagnoses: list[Diagnosis]) -> list[str]:
    """The Debian packages that would mend what is missing, for one apt-get."""
    prefix = "apt-get install "
    hints = [
        need.hint
        for diagnosis in diagnoses
        for need in diagnosis.needs
        if not need.met and need.hint.startswith(prefix)
    ]
    return list(dict.fromkeys(package for hint in hints for package in hint.removeprefix(prefix).split()))
