"""The story of Bochs, out of what its debugger and its log say. Both have the number of instructions since power-on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from difftest.text import visible
from difftest.tracing.story import Step, StepKind, Story
from emulators.bochs.tracing import BochsTrace

_INSTRUCTION = re.compile(
    rb"^\(\d+\)\.\[(\d+)\] \[0x[0-9a-f]+\] [0-9a-f]{4}:([0-9a-f]{4,16}) \([^)]*\): (.{1,200}?) *; ([0-9a-f]{2,30})\b"
)
_EXCEPTION = re.compile(rb"^CPU \d+: Exception 0x([0-9a-f]{2}) .*\(error_code=0x([0-9a-f]{4})\)")
_LOG = re.compile(rb"^(\d{11,})([de])\[CPU0 *\] (.*)$", re.MULTILINE)
_ENTRY = re.compile(rb"VM(?:LAUNCH|RESUME) VMCS ptr")
_EXIT = re.compile(rb"VMEXIT reason = (\d+) \(.*?\) qualification=0x([0-9a-f]+)")
_REASON = re.compile(rb"VMFAIL|VMENTER FAIL|VMABORT")
ENTRIES = ("vmlaunch", "vmresume")
FAILED_ENTRIES = (33, 34, 41)  # exit reasons


def story_of_bochs(trace: BochsTrace) -> Story:
    """What Bochs did from where tracing began to where it ended."""
    _, found, said = trace.console.partition(b"\nTracing enabled for CPU0\n")
    if not found:
        why = trace.end or "Bochs did not come to the check"
        return Story(problem=f"the check was not reached: {visible(why, 300)}")
    return Story(steps=tuple(_steps(said.splitlines(), _logged(trace.log))), end=trace.end)


def _logged(log: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    """StepKind and words of the CPU's lines, by number of instructions."""
    found = defaultdict(list)
    for tick, kind, words in _LOG.findall(log):
        found[int(tick)].append((kind, words))
    return found


def _steps(lines: Sequence[bytes], logged: dict[int, list[tuple[bytes, bytes]]]) -> Iterator[Step]:
    level, last = "L1", None
    entry: Step | None = None  # a VMLAUNCH or VMRESUME, until it is known what came of it
    exceptions: list[Step] = []
    for line in lines:
        if match := _EXCEPTION.match(line):
            rip = last.rip if last else None
            numbers = int(match[1], 16), int(match[2], 16)
            step = Step(kind=StepKind.EXCEPTION, level=level, rip=rip, number=numbers[0], detail=numbers[1])
            exceptions.append(step)
            continue
        if (match := _INSTRUCTION.match(line)) is None:
            continue
        tick, rip, words, code = int(match[1]), int(match[2], 16), match[3].decode("ascii", "replace"), match[4]
        if entry is not None:
            came, entry = _came(entry, rip), None
            level = "L2" if came.kind is StepKind.ENTRY else "L1"
            yield came
        yield from exceptions
        exceptions.clear()
        data = bytes.fromhex(code.decode())
        last = Step(kind=StepKind.INSTRUCTION, level=level, rip=rip, length=len(data), words=words, code=data)
        yield last
        of_entry = words.startswith(ENTRIES) and level == "L1"
        reason = ""
        for kind, text in logged.pop(tick, ()):
            if _REASON.search(text) and kind == b"e":
                reason = reason or text.decode("ascii", "replace")
            elif match := _EXIT.search(text):
                number = int(match[1])
                failed = of_entry and number in FAILED_ENTRIES
                if of_entry and not failed:  # L2 was entered, and left before its first instruction
                    yield _came(last, None)
                level, of_entry = "L1", False
                yield Step(
                    kind=StepKind.EXIT,
                    level="L2",
                    rip=rip,
                    length=len(data),
                    number=number,
                    detail=int(match[2], 16),
                    failed=failed,
                    words=reason,
                )
                exceptions.clear()
        if of_entry:
            entry = Step(kind=StepKind.ENTRY, level="L1", rip=rip, length=len(data), words=reason)
    yield from exceptions


def _came(entry: Step, rip: int | None) -> Step:
    """What came of a VM entry when the next instruction is at `rip`: the one after it is L1's, with a VMfail."""
    refused = entry.rip is not None and rip == entry.rip + entry.length
    return Step(
        kind=StepKind.REFUSED if refused else StepKind.ENTRY,
        level="L1",
        rip=entry.rip,
        length=entry.length,
        words=entry.words if refused else "",
    )
