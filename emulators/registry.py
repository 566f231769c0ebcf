"""All targets by name. A new emulator is a folder with a Target, and a line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import msgspec

from emulators.bochs.target import Bochs
from emulators.hosted.target import KvmHosted
from emulators.qemu.target import Kvm, Tcg
from emulators.target import Target

# In the order in which they are listed. Each is made with what its constructor asks for: versions, `cache`, `cold`.
TARGETS: list[Callable[..., Target]] = [Bochs, Kvm, KvmHosted, Tcg]

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
    """Every target, by its name. `cache` is where what is fetched and built is kept; `cold` is to start no target from
    a snapshot.

    Raises EmulatorError when `qemu` names none. All else is fetched, and refused, when a target is prepared.
    """
    given = {**msgspec.structs.asdict(versions or Versions()), "cache": cache, "cold": cold}
    every = []
    for target in TARGETS:
        wanted = inspect.signature(target).parameters
        every.append(target(**{name: value for name, value in given.items() if name in wanted}))
    return {target.name: target for target in every}
