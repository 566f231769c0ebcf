"""The story of KVM, out of l0.log: what L0 handled, and what it made of it. What the CPU under it did alone is not in
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from difftest.reading.exits import HOST
from difftest.text import visible
from difftest.tracing.story import ENTRIES, StepKind, Story, StoryStep
from emulators.observation import L0_LOG, Observation

EXIT, NESTED, INJECT, EXCEPTION = "kvm_exit", "kvm_nested_vmexit", "kvm_nested_vmexit_inject", "kvm_inj_exception"
FAILED = "kvm_nested_vmenter_failed"
# Which VMREAD, VMWRITE and the like were executed says nothing: there are hundreds.
QUIET = frozenset((19, 21, 22, 23, 25, 26, 27, 50, 53))
BASIC, ENTRY_FAILED = 0xFFFF, 1 << 31
_LINE = re.compile(r"(\d{1,5}) (\w{1,60})((?: \w{1,40}=0x[0-9a-f]{1,16})*)((?: \w{1,40}=\"[^\"]{0,300}\")*)")


class _Event:
    """One line of the log."""

    def __init__(self, name: str, numbers: str, texts: str) -> None:
        self.name = name
        self.numbers = {key: int(value, 16) for key, value in re.findall(r"(\w+)=(0x[0-9a-f]+)", numbers)}
        self.text = " ".join(re.findall(r'"([^"]*)"', texts))

    def number(self, *names: str) -> int:
        """The first of these fields that this kernel's event has."""
        return next((self.numbers[name] for name in names if name in self.numbers), 0)


def story_of_l0(observation: Observation) -> Story:
    """What L0 did in the only check of this boot."""
    log = observation.logs.get(L0_LOG)
    lines = log.decode("ascii", "replace").splitlines() if log else []
    if not lines or lines[0] != "difftest l0 1":
        return Story(problem="L0 recorded nothing")
    if problem := next((line for line in lines if line.startswith("problem ")), ""):
        return Story(problem=visible(problem, 300))
    if not any(line.endswith(" start") for line in lines):
        return Story(problem="L0 saw no check begin", end=visible(observation.detail, 300))
    groups = list(_groups(lines))
    reported = any(line.endswith(" report") for line in lines)
    cut = next((line for line in lines if line.startswith("end cut=") and line != "end cut=0"), "")
    return Story(
        steps=tuple(step for group in groups for step in _steps(group)),
        problem="it is not whole: too much was traced" if cut else "",
        end="" if reported else visible(f"{observation.ending}: {observation.detail}", 300),
    )


def _groups(lines: list[str]) -> Iterator[list[_Event]]:
    """Each exit with what came of it."""
    group: list[_Event] = []
    for line in lines:
        if (match := _LINE.fullmatch(line)) is None:
            continue
        event = _Event(match[2], match[3], match[4])
        if event.name == EXIT:
            if group:
                yield group
            group = []
        group.append(event)
    if group:
        yield group


def _steps(group: list[_Event]) -> Iterator[StoryStep]:
    first, by_name = group[0], {event.name: event for event in reversed(group)}
    if first.name != EXIT:
        return
    reason, rip = first.number("exit_reason"), first.number("guest_rip")
    basic, level = reason & BASIC, "L2" if NESTED in by_name else "L1"
    injected, reflected, failed = by_name.get(EXCEPTION), by_name.get(INJECT), by_name.get(FAILED)
    if level == "L1" and basic in ENTRIES:
        words = f"KVM: {failed.text or 'refused'}" if failed else ""
        yield StoryStep(kind=StepKind.REFUSED if failed else StepKind.ENTRY, level="L1", rip=rip, length=3, words=words)
    elif reflected is None and basic not in QUIET | HOST:
        detail = first.number("intr_info") & 0xFF if basic == 0 else first.number("info1")
        yield StoryStep(kind=StepKind.HANDLED, level=level, rip=rip, number=basic, detail=detail)
    if injected is not None and not injected.number("reinjected"):
        yield StoryStep(
            kind=StepKind.EXCEPTION,
            level=level,
            rip=rip,
            number=injected.number("exception") & 0xFF,
            detail=injected.number("error_code"),
            words="L0 injects it",
        )
    if reflected is not None:
        code = reflected.number("exit_code")
        yield StoryStep(
            kind=StepKind.EXIT,
            level="L2",
            rip=rip,
            number=code & BASIC,
            detail=reflected.number("exit_info1"),
            failed=bool(code & ENTRY_FAILED),
            had=basic,
        )
