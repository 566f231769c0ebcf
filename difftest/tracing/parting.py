"""Where two stories part: the first thing that can be seen from outside and that they do not have in common."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from difftest.tracing.story import COMPARED, ENTRIES, MEMORY, StepKind, Story, StoryStep


class SeenByL0(enum.StrEnum):
    """Whether L0 took part in what the sides differ in."""

    CARRIED_OUT = "L0 carried the instruction out"
    WROTE_EXIT = "L0 gave L1 the VM exit"
    ENTERED = "L0 did the VM entry"
    NOT_AT_ALL = "L0 did not see it: the CPU under L0 did it alone"
    UNKNOWN = "what L0 saw is not known"


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where they part. `left` and `right` are indices into the steps of Bochs and of KVM, or their ends."""

    pairs: tuple[tuple[int, int], ...]  # what they have in common
    left: int
    right: int
    differs: bool  # whether an event differs at all; else both have the same, and what differs is in the state
    rip: int | None  # of the instruction
    level: str
    seen: SeenByL0
    handled: tuple[int, ...] = ()  # steps of KVM in question: exits of this level that L0 handled since the last pair


def parting(bochs: Story, kvm: Story) -> Parting:
    """The first difference of two stories that are whole up to there."""
    left, right = _compared(bochs.steps), _compared(kvm.steps)
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) or j < len(right):
        one = bochs.steps[left[i]] if i < len(left) else None
        other = kvm.steps[right[j]] if j < len(right) else None
        if one is not None and other is not None and same(one, other):
            pairs.append((left[i], right[j]))
            i, j = i + 1, j + 1
            continue
        upto = right[j] if j < len(right) else len(kvm.steps)
        if one is not None and one.kind is StepKind.EXCEPTION and not _handled_at(one, kvm.steps, pairs, upto):
            i += 1  # the CPU under L0 delivers exceptions that L0 does not see
            continue
        at = left[i] if i < len(left) else len(bochs.steps)
        return _at(bochs, kvm, pairs, at, upto, differs=True)
    return _at(bochs, kvm, pairs, len(bochs.steps), len(kvm.steps), differs=False)


def same(one: StoryStep, other: StoryStep) -> bool:
    """Whether two steps are one event. An address that a side does not have is no difference."""
    if one.kind is not other.kind:
        return False
    if one.kind in (StepKind.ENTRY, StepKind.REFUSED):
        return True
    if one.kind is StepKind.EXCEPTION:
        return (one.level, one.number) == (other.level, other.number)
    if (one.number, one.detail, one.failed) != (other.number, other.detail, other.failed):
        return False
    return one.failed or one.rip is None or other.rip in (None, one.rip, one.rip + one.length)


def _compared(steps: Sequence[StoryStep]) -> list[int]:
    return [at for at, step in enumerate(steps) if step.kind in COMPARED]


def _handled_at(exception: StoryStep, steps: Sequence[StoryStep], pairs: Sequence[tuple[int, int]], upto: int) -> bool:
    """Whether L0 handled an exit of the very instruction, and injected nothing."""
    begin = pairs[-1][1] + 1 if pairs else 0
    return any(
        step.kind is StepKind.HANDLED and (step.level, step.rip) == (exception.level, exception.rip)
        for step in steps[begin:upto]
    )


def _at(bochs: Story, kvm: Story, pairs: Sequence[tuple[int, int]], left: int, right: int, *, differs: bool) -> Parting:
    one = bochs.steps[left] if left < len(bochs.steps) else None
    other = kvm.steps[right] if right < len(kvm.steps) else None
    level = next((step.level for step in (one, other) if step is not None), _last_level(bochs, kvm))
    begin = (pairs[-1][1] + 1 if pairs else 0) if differs else 0
    handled = tuple(at for at in range(begin, right) if _carried_out(kvm.steps[at], level))
    if differs and one is not None and one.kind is StepKind.EXCEPTION:
        at_it = tuple(at for at in handled if kvm.steps[at].rip == one.rip)
        handled = at_it or handled
    entry = next((step for step in (one, other) if step is not None and _of_entry(step)), None)
    if entry is not None:
        entries = [step.rip for step in (*bochs.steps[:left], *kvm.steps[:right]) if step.kind is StepKind.ENTRY]
        seen, level = SeenByL0.ENTERED, "L1"
        rip = entries[-1] if entries and entry.kind is StepKind.EXIT and not entry.failed else entry.rip
    elif differs and other is not None and other.kind is StepKind.EXIT and one is not None:
        step = kvm.steps[handled[-1]] if handled else one
        itself = other.had is not None and other.had not in MEMORY | {other.number}
        seen = SeenByL0.CARRIED_OUT if handled or itself else SeenByL0.WROTE_EXIT
        rip = step.rip if step.rip is not None else other.rip
    elif handled:
        seen, rip = SeenByL0.CARRIED_OUT, kvm.steps[handled[-1]].rip
    elif differs and (step_or_none := one or other) is not None:
        seen, rip = SeenByL0.NOT_AT_ALL, step_or_none.rip
    else:
        last = bochs.steps[pairs[-1][0]] if pairs else None
        seen, rip = SeenByL0.NOT_AT_ALL, last.rip if last else None
    if kvm.problem:
        seen = SeenByL0.UNKNOWN
    return Parting(
        pairs=tuple(pairs), left=left, right=right, differs=differs, rip=rip, level=level, seen=seen, handled=handled
    )


def _carried_out(step: StoryStep, level: str) -> bool:
    """Whether L0 handled an exit of this level by more than a look at memory."""
    return step.kind is StepKind.HANDLED and step.level == level and step.number not in MEMORY


def _of_entry(step: StoryStep) -> bool:
    """Whether a step is what came of a VM entry that did not succeed, or that L0 turned into an exit."""
    return step.failed or step.kind is StepKind.REFUSED or step.had in ENTRIES


def _last_level(bochs: Story, kvm: Story) -> str:
    """L2 where the check has one: that is where it does its one thing."""
    return "L2" if any(step.kind is StepKind.ENTRY for step in (*bochs.steps, *kvm.steps)) else "L1"
