"""The parts that a story is made of: what one side did while a check ran, in its order."""

from __future__ import annotations

import enum

import msgspec


class StepKind(enum.StrEnum):
    """What happened. All but the first two can be seen from outside of the CPU, and are compared."""

    INSTRUCTION = "instruction"  # one that Bochs executed
    HANDLED = "handled"  # an exit to L0, after which the guest went on
    ENTRY = "entry"  # VMLAUNCH or VMRESUME, and L2 runs
    REFUSED = "refused"  # VMLAUNCH or VMRESUME that ended in a VMfail
    EXIT = "exit"  # L1 gets a VM exit, that of an entry that failed among them
    EXCEPTION = "exception"  # delivered to the guest


MEMORY = frozenset({48, 49, 62})  # exit reasons with which L0 looks at memory: it carries no instruction out
ENTRIES = frozenset({20, 24})  # exit reasons VMLAUNCH and VMRESUME
COMPARED = frozenset({StepKind.ENTRY, StepKind.REFUSED, StepKind.EXIT, StepKind.EXCEPTION})


class StoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    kind: StepKind
    level: str  # who ran, or was to run next: "L1" or "L2"
    rip: int | None = None
    length: int = 0  # of the instruction there, in bytes, where it is known
    number: int = 0  # the exit reason, or the vector
    detail: int = 0  # the exit qualification, or the error code
    failed: bool = False  # an exit whose VM entry had failed
    had: int | None = None  # of an exit that L0 gave L1: the exit reason that L0 had itself
    words: str = ""  # the instruction, or what the emulator or the kernel says
    code: bytes = b""  # of the instruction


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What a side did."""

    steps: tuple[StoryStep, ...] = ()
    problem: str = ""  # why there is none, or why it is not whole
    end: str = ""  # how the guest ended, where that was before the check reported
