"""Targets `kvm` and `tcg`: QEMU on this host, with KVM or with its own translator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence

import msgspec

from emulators.host.errors import Progress
from emulators.observation import Boot, Machine
from emulators.qemu.command_line import stock_argv
from emulators.qemu.cpu_models import check_cpu_model
from emulators.qemu.host_kvm import cpu_flags, host_cpu, kvm_device, nested_vmx
from emulators.qemu.program import qemu_program
from emulators.qemu.session import NativeSession, NativeSettings
from emulators.standalone import StandaloneBoot, standalone_qemu
from emulators.target import NESTED, OTHER_CPU, Requirement, Session, Target, other_cpu

OTHER_MODEL = "Haswell"


class NativeQemu(Target):
    """What both targets share."""

    accelerator: str
    model: str

    def __init__(self, qemu: str | None = None) -> None:
        """`qemu` is the path of a QEMU; None is the distribution's. Raises EmulatorError when it is none."""
        self.program = qemu_program(qemu)

    def requirements(self) -> list[Requirement]:
        return [self.program.requirement()]

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        serial = f"{self.name}.serial"
        argv = [*stock_argv(boot, self.accelerator, self.cpu_model(boot)), "-display", "none", "-no-reboot"]
        return standalone_qemu([*argv, "-serial", f"file:{serial}"], serial, self.hand_needs(needs))

    def hand_needs(self, needs: Sequence[str]) -> list[tuple[str, str]]:
        return []

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, self.model)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return {OTHER_CPU: other_cpu(machine, self.name, OTHER_MODEL)}

    def check(self, machine: Machine) -> None:
        if model := machine.cpu_models.get(self.name):
            check_cpu_model(self.program, model)

    def identity(self) -> dict[str, str]:
        return {**self.program.identity(), "accelerator": self.accelerator, "cpu model": self.model}

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        settings = NativeSettings(self.name, self.accelerator, self.program.executable, self.identity(), self.cpu_model)
        yield NativeSession(settings, progress)


class Tcg(NativeQemu):
    """QEMU's translator: no VMX, a third opinion on cases that need none."""

    name = "tcg"
    implementation = "TCG"
    accelerator = "tcg"
    model = "max"


class Kvm(NativeQemu):
    """KVM of the kernel that runs here. Nested VMX only when kvm_intel says so."""

    name = "kvm"
    implementation = "KVM"
    accelerator = "kvm"
    model = "host"

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED if nested_vmx() else frozenset()

    def requirements(self) -> list[Requirement]:
        return [
            *super().requirements(),
            Requirement(
                "/dev/kvm",
                os.access("/dev/kvm", os.R_OK | os.W_OK),
                kvm_device(),
                "load kvm_intel or kvm_amd; join group kvm",
            ),
            Requirement(
                "virtualization hardware",
                bool(cpu_flags() & {"vmx", "svm"}),
                "vmx or svm in /proc/cpuinfo",
                "a /dev/kvm without VMX or SVM under it is no KVM to test: use --target kvm-hosted",
            ),
        ]

    def hand_needs(self, needs: Sequence[str]) -> list[tuple[str, str]]:
        return kvm_conditions(needs)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return kvm_variants(machine, self.name, self.model)

    def identity(self) -> dict[str, str]:
        return {
            **super().identity(),
            "kernel": os.uname().release,
            "kernel arch": os.uname().machine,
            "host cpu": host_cpu(),
        }


def kvm_conditions(needs: Sequence[str]) -> list[tuple[str, str]]:
    """What KVM by hand takes of a host: shell conditions, with the words to say where they do not hold."""
    device = ("test -w /dev/kvm", "KVM: /dev/kvm, and permission to write to it")
    nested = (
        "grep -q '^[Y1]' /sys/module/kvm_intel/parameters/nested",
        "an Intel CPU, and kvm_intel loaded with nested=1 (a bundle made with --carry needs neither)",
    )
    return [device, nested] if NESTED & set(needs) else [device]


def kvm_variants(machine: Machine, target: str, model: str) -> dict[str, Machine]:
    """What a KVM maintainer asks first: does it need this CPU model, does it need KVM's own interrupt controllers."""
    # Without them QEMU 7.2 aborts when it resets the MSR of a paravirtual feature that the kernel then refuses.
    plain = other_cpu(machine, target, f"{machine.cpu_models.get(target, model)},kvm-asyncpf-int=off")
    return {
        OTHER_CPU: other_cpu(machine, target, f"{OTHER_MODEL},vmx=on"),
        "kernel_irqchip=off": msgspec.structs.replace(plain, qemu_options="kernel_irqchip=off"),
    }
