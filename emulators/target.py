"""The protocol between the tester and the emulators: what each kind of caller asks of a target, and the answers of a
target that has nothing special.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from emulators.host.errors import Progress
from emulators.observation import Boot, Machine, Observation
from emulators.standalone import StandaloneBoot

NESTED = frozenset({"vmx", "ept", "unrestricted-guest"})  # what a case that is itself a hypervisor needs

OTHER_CPU = "another CPU model"  # the variant that each target with a choice of models has


class Requirement(msgspec.Struct, frozen=True):
    """One thing that a target needs from this host: whether it is there, and the command that gets it."""

    what: str
    met: bool
    found: str = ""  # what was found: a version, a path, a reason
    hint: str = ""


def other_cpu(machine: Machine, target: str, model: str) -> Machine:
    """The machine with another CPU model on one target."""
    return msgspec.structs.replace(machine, cpu_models={**machine.cpu_models, target: model})


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """A target's name, and whose behaviour it shows (see Target)."""

    target: str
    implementation: str


class Session(Protocol):
    """A target made ready for some boots. One boot at a time."""

    async def boot(self, boot: Boot) -> Observation:
        """Boot once and observe. An emulator that dies is an observation (`Ending.CRASH`), not an exception.

        Raises EmulatorError only when the target itself cannot be brought up.
        """
        ...


class Emulator(Protocol):
    """What a run asks of a target: to boot images, and to say what it is."""

    name: str
    implementation: str  # whose behaviour this target shows, as a verdict names it: "Bochs", "KVM", "TCG"

    @property
    def shares_start(self) -> bool:
        """True if starting a session is expensive; all boots then share one. Asked once the target is prepared."""
        return False

    @property
    def capabilities(self) -> frozenset[str]:
        """What of a case's needs this target has: "vmx", "ept", "unrestricted-guest"."""
        return frozenset()

    def requirements(self) -> list[Requirement]:
        """What this target needs of the host, met or not; quick, starts no emulator."""
        return []

    def prepare(self, progress: Progress) -> None:
        """Fetch and build what boots on this target need, once. Raises EmulatorError."""
        return

    def check(self, machine: Machine) -> None:
        """Raises ChoiceError for a machine that this target, which is prepared, cannot be: its CPU model is unknown."""
        return

    @abc.abstractmethod
    def identity(self) -> dict[str, str]:
        """Versions, kernel, CPU model and firmware hashes: what must be equal for two observations to be of one
        target.
        """
        ...

    def on_cpu(self, model: str) -> Target:
        """The same target with this model of Bochs' as its emulated CPU. The target itself where the user chose a
        model, or where it has no emulated CPU.
        """
        return cast(Target, self)

    def sharing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Until this context exits, sessions may reuse resources that outlive one boot, such as an X server."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def session(self, boots: Sequence[Boot], progress: Progress) -> contextlib.AbstractAsyncContextManager[Session]:
        """Make ready for these boots (and no other images). Leaving the context ends every process that it started,
        but what `sharing` keeps.
        """
        ...


class Confirmable(Protocol):
    """What is asked of a target to confirm on it, or on others, a finding that it gave."""

    def variants(self, machine: Machine) -> dict[str, Machine]:
        """The same machine set up otherwise, by name, to confirm on it what was seen on the plain one: OTHER_CPU and
        more.

        None of it changes what the SDM requires.
        """
        return {}

    def thorough(self) -> Target | None:
        """The same target without the short cuts that this one may take; None when it takes none."""
        return None

    def other_host(self) -> Target | None:
        """The same target on a host CPU of another model, started without short cuts, to see whether a finding depends
        on what is under the target; None where the host has no choice. It takes seconds for each boot, and a `prepare`
        and a `host_cpu` of its own.
        """
        return None

    def host_cpu(self) -> Target | None:
        """The emulator that is the CPU under this target, as a target that boots an image directly; None where that is
        no emulator.

        It may be asked for at any time, but is ready only once its own `prepare` has been called, which raises
        EmulatorError where that emulator cannot be observed. An observation of any target whose `identity` equals
        that of the host CPU is an observation of the host CPU.
        """
        return None


class Reproducible(Protocol):
    """What a bundle asks of a target."""

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot | None:
        """How to do this boot, of a case with these needs, with stock programs alone; None where there is no such way.
        Raises EmulatorError.

        With `carry` what other hosts may lack is among its files, however large; it may be fetched and built for that.
        """
        return None


class Target(Emulator, Confirmable, Reproducible):
    """One emulator configuration that can boot an image. An emulator of its own gives name, implementation, identity
    and session, and what else it has.
    """
