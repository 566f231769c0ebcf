"""All targets by name. A new emulator is a module with a Target, and a line here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from emulators.bochs.target import Bochs
from emulators.hosted.target import KvmHosted
from emulators.qemu.target import Kvm, Tcg
from emulators.target import Target

REFERENCE = Bochs.name
# The targets that are KVM, the best first: a run takes the first that the host and the case allow.
KVM_TARGETS = (Kvm.name, KvmHosted.name)
OPINION = Tcg.name


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Which kernel and which emulators the targets are made of. None is what this host's distribution has."""

    kernel: str | None = None  # of kvm-hosted; see emulators.hosted.appliance.kernel.fetch
    bochs: str | None = None  # the reference; see emulators.bochs.program.program
    host_bochs: str | None = None  # the Bochs that hosts KVM
    qemu: str | None = None  # path of the QEMU of every target that is one
    cpu_model: str | None = None  # the CPU of both Bochs

    @property
    def speak_of(self) -> tuple[str, ...]:
        """The targets that must take part for these versions to mean anything."""
        return (KvmHosted.name,) if self.kernel or self.host_bochs else ()


def targets(versions: Versions | None = None, cache: Path | None = None, *, cold: bool = False) -> dict[str, Target]:
    """Every target, in the order in which they are listed. `cache` is where what is fetched and built is kept; `cold`
    is to start no target from a snapshot.

    Raises EmulatorError when `qemu` names none. All else is fetched, and refused, when a target is prepared.
    """
    asked = versions or Versions()
    hosted = KvmHosted(asked.kernel, cache, asked.host_bochs, asked.cpu_model, asked.qemu, cold)
    every: list[Target] = [Bochs(asked.bochs, cache, asked.cpu_model), Kvm(asked.qemu), hosted, Tcg(asked.qemu)]
    return {target.name: target for target in every}
