"""The story of Bochs, out of what its debugger and its log say. Both have the number of instructions since power-on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from difftest.text import visible
from difftest.tracing.story import StepKind, Story, StoryStep
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


class _TraceReader:
    """What has been read so far, and who runs."""

    def __init__(self, logged: dict[int, list[tuple[bytes, bytes]]]) -> None:
        self.level = "L1"
        self.entry: StoryStep | None = None  # a VMLAUNCH or VMRESUME, until it is known what came of it
        self._logged = logged
        self._ticks = sorted(logged, reverse=True)

    def before(self, tick: int) -> Iterator[StoryStep]:
        """What happened before the next instruction, since the last one: L2 may leave before it executes any."""
        while self._ticks and self._ticks[-1] < tick:
            for step in self._exits(self._ticks.pop()):
                if self.entry is not None:
                    yield _came(self.entry, None)
                    self.entry = None
                self.level = "L1"
                yield step

    def of(self, instruction: StoryStep, tick: int) -> Iterator[StoryStep]:
        """What an instruction caused."""
        enters = instruction.words.startswith(ENTRIES) and self.level == "L1"
        reason = ""
        while self._ticks and self._ticks[-1] <= tick:
            now = self._ticks.pop()
            reason = next(
                (_text(words) for kind, words in self._logged[now] if kind == b"e" and _REASON.search(words)), ""
            )
            for step in self._exits(now):
                failed = enters and step.number in FAILED_ENTRIES
                if enters and not failed:
                    yield _came(instruction, None)
                self.level, enters = "L1", False
                yield msgspec.structs.replace(
                    step, rip=instruction.rip, length=instruction.length, failed=failed, words=reason
                )
        if enters:
            self.entry = msgspec.structs.replace(instruction, kind=StepKind.ENTRY, words=reason)

    def _exits(self, tick: int) -> list[StoryStep]:
        found = (_EXIT.search(words) for _, words in self._logged[tick])
        return [
            StoryStep(kind=StepKind.EXIT, level="L2", number=int(match[1]), detail=int(match[2], 16))
            for match in found
            if match
        ]


def _steps(lines: Sequence[bytes], logged: dict[int, list[tuple[bytes, bytes]]]) -> Iterator[StoryStep]:
    first = next((int(match[1]) for line in lines if (match := _INSTRUCTION.match(line))), 0)
    reader = _TraceReader({tick: said for tick, said in logged.items() if tick >= first})
    exceptions: list[StoryStep] = []
    last: StoryStep | None = None
    last_tick = 0
    for line in lines:
        if match := _EXCEPTION.match(line):
            vector, code = int(match[1], 16), int(match[2], 16)
            rip = last.rip if last else None
            exceptions.append(
                StoryStep(kind=StepKind.EXCEPTION, level=reader.level, rip=rip, number=vector, detail=code)
            )
            continue
        if (match := _INSTRUCTION.match(line)) is None:
            continue
        tick, rip, code_bytes = int(match[1]), int(match[2], 16), bytes.fromhex(match[4].decode())
        if last is not None:
            caused = list(reader.of(last, last_tick))
            if any(step.kind is StepKind.EXIT for step in caused):
                exceptions.clear()  # what causes a VM exit is not delivered
            yield from (*caused, *exceptions)
            exceptions.clear()
        yield from reader.before(tick)
        if reader.entry is not None:
            came, reader.entry = _came(reader.entry, rip), None
            reader.level = "L2" if came.kind is StepKind.ENTRY else "L1"
            yield came
        last_tick = tick
        last = StoryStep(
            kind=StepKind.INSTRUCTION,
            level=reader.level,
            rip=rip,
            length=len(code_bytes),
            words=_text(match[3]),
            code=code_bytes,
        )
        yield last
    yield from exceptions


def _text(words: bytes) -> str:
    return words.decode("ascii", "replace")


def _came(entry: StoryStep, rip: int | None) -> StoryStep:
    """What came of a VM entry when the next instruction is at `rip`: the one after it is L1's, with a VMfail."""
    refused = entry.rip is not None and rip == entry.rip + entry.length
    return StoryStep(
        kind=StepKind.REFUSED if refused else StepKind.ENTRY,
        level="L1",
        rip=entry.rip,
        length=entry.length,
        words=entry.words if refused else "",
    )
