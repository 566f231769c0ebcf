"""All targets by name. A new emulator is a folder with a Target, and a line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from emulators.bochs.target import Bochs
from emulators.hosted.target import KvmHosted
from emulators.qemu.target import Kvm, Tcg
from emulators.target import Target
from emulators.versions import Versions, arguments, given

# In the order in which they are listed. Each is made with what its constructor asks for: versions, `cache`, `cold`,
# `exits`.
TARGETS: list[Callable[..., Target]] = [Bochs, Kvm, KvmHosted, Tcg]

REFERENCE = Bochs.name
# The targets that are KVM, the best first: a run takes the first that the host and the case allow.
KVM_TARGETS = (Kvm.name, KvmHosted.name)
OPINION = Tcg.name
RECORDS_EXITS = KvmHosted.name  # the target that takes `exits`


def targets(
    versions: Versions | None = None, cache: Path | None = None, *, cold: bool = False, exits: bool = False
) -> dict[str, Target]:
    """Every target, by its name. `cache` is where what is fetched and built is kept; `cold` is to start no target from
    a snapshot, `exits` to record the VM exits that L0 handles, on the target that can.

    Raises EmulatorError when `qemu` names none. All else is fetched, and refused, when a target is prepared.
    """
    there_is = {**arguments(versions or {}), "cache": cache, "cold": cold, "exits": exits}
    every = []
    for target in TARGETS:
        wanted = inspect.signature(target).parameters
        every.append(target(**{name: value for name, value in there_is.items() if name in wanted}))
    return {target.name: target for target in every}


def needed(versions: Versions) -> tuple[str, ...]:
    """The targets, beside the reference, that must take part for these versions to mean anything: those that are the
    only ones to take one of them.
    """
    alone = [option.targets[0] for option in given(versions) if len(option.targets) == 1]
    return tuple(name for name in dict.fromkeys(alone) if name != REFERENCE)
