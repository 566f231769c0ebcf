"""What the boots of an image on one side say of each check, and of the image as a whole."""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Mapping, Sequence, Set

import msgspec

from difftest.case.manifest import IMAGE, Manifest
from difftest.reading.boot_reading import BootReading, Parts
from difftest.reading.exception_dump import exception_dump
from difftest.reading.firmware import is_firmware, last_words, printed_lines
from difftest.reading.line_pairs import identified, masked
from difftest.reading.record import Record
from difftest.reading.screen_reading import VERDICT_ROWS
from difftest.reading.suite import SKIPPED_EXIT, Line
from difftest.text import visible
from difftest.verdict import Status
from emulators.host.expression import Expression
from emulators.observation import FATAL, HUNG, ORDERLY, Ending
from emulators.text_screen import screen_matches

DUMP = "exception"  # the field of an image as a whole that has the dump it ended with

UNREPORTED = "not reported"  # begins the reason for a result that a side broke off before


# Of the last lines of an image that gave up, the one that says why: what follows it are registers and addresses.
_GAVE_UP = re.compile(r"unhandled|assert|panic|abort|unexpected|fatal|\bbug\b", re.IGNORECASE)
MOST_LAST_LINES = 30


class ScreenScope(enum.Enum):
    """What of the screen is compared with the other side's."""

    NOTHING = "nothing"
    ROWS = "rows"  # rows 20 to 23
    LINES = "lines"  # what was printed after the firmware's words, wherever on the screen that is


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one side gave for one check. `reason` says why there is no status, or why this one."""

    status: Status
    reason: str = ""
    record: Record
    judged: bool = True  # False: the image does not say what is right, so that its end breaks nothing

    @property
    def bad(self) -> bool:
        """Whether this side breaks the SDM."""
        return self.status.bad and self.judged


def aligned(manifest: Manifest, *sides: Sequence[BootReading]) -> list[list[BootReading]]:
    """The boots of all sides with the results that images print as lines made records, under ids that hold on all
    sides. The parts of one boot are one list of lines.
    """
    repeats = [parts for side in sides for parts in by_repeat(side).values()]
    lists = [[line for reading in parts for line in reading.transcript.suite.lines] for parts in repeats]
    known: dict[int, BootReading] = {}
    for parts, ids in zip(repeats, identified(lists, manifest.volatile), strict=True):
        lines = iter(ids.items())
        for reading in parts:
            own = dict(itertools.islice(lines, len(reading.transcript.suite.lines)))
            known[id(reading)] = _with_lines(reading, own, set(manifest.tests))
    return [[known[id(reading)] for reading in side] for side in sides]


def _with_lines(reading: BootReading, lines: dict[str, Line], tests: Set[str]) -> BootReading:
    if not lines and not reading.transcript.suite.sections:
        return reading
    ended = [section for section in reading.transcript.suite.sections if section in reading.transcript.reported & tests]
    records = {check: Record(check=check, status=Status.PASS, own=True) for check in ended}
    records |= {check: _record(check, line) for check, line in lines.items() if check not in records}
    return msgspec.structs.replace(
        reading, transcript=msgspec.structs.replace(reading.transcript, records=records, complete=True)
    )


def _record(check: str, line: Line) -> Record:
    fields = {"said": line.said} if line.status == Status.OPEN else {}
    free = {"line": line.name} if line.name not in check else {}
    return Record(check=check, status=line.status, fields=fields, free=free, own=True)


def by_repeat(readings: Sequence[BootReading]) -> Mapping[int, Parts]:
    """The parts of each repeated boot, in order, by the number of the repeat."""
    groups: dict[int, list[BootReading]] = {}
    for reading in sorted(readings, key=lambda reading: reading.boot.part):
        groups.setdefault(reading.boot.repeat, []).append(reading)
    return groups


def part_of(parts: Parts, check: str | None) -> BootReading:
    """The part that decides a check: the one that reported it, or that died in it, or else the last."""
    if check is None:
        return next((reading for reading in parts if not ended_as_required(reading)), parts[0])
    reported = [reading for reading in parts if check in reading.transcript.records]
    # A line belongs to the test that it has before its slash.
    fatal = [one for one in parts if (test := one.transcript.died_in()) and f"{check}/".startswith(f"{test}/")]
    return (reported or fatal or [parts[-1]])[0]


def evidence_of(manifest: Manifest, parts: Parts, check: str | None, scope: ScreenScope) -> Evidence:
    """What a side gives for a check, or for the image as a whole (None)."""
    if check is None:
        return _of_image(manifest, part_of(parts, None), scope)
    return _of_check(manifest, parts, check)


def ended_as_required(reading: BootReading) -> bool:
    """Whether the CPU entered shutdown in a check that requires it."""
    return reading.transcript.must_end() and reading.observation.ending == Ending.TRIPLE_FAULT


def screen_scope(manifest: Manifest, *readings: BootReading) -> ScreenScope:
    """What of these sides' screens can be compared."""
    if manifest.end_screen or any(switched_off(reading) for reading in readings):
        return ScreenScope.NOTHING  # where a prompt is depends on how much the firmware has said before
    if all(printed_lines(reading.screen) for reading in readings):
        return ScreenScope.LINES
    return ScreenScope.ROWS


def switched_off(reading: BootReading) -> bool:
    """Whether the emulator was gone with the guest's last word, and with it the screen."""
    observation = reading.observation
    return observation.gone or (observation.ending == Ending.POWER_OFF and observation.screen is None)


def reached_end(manifest: Manifest, reading: BootReading) -> bool:
    """Whether a silent guest shows what the case says it ends with, such as a prompt. What the boot was stopped for
    counts only if the screen shows it afterwards, too.
    """
    if reading.observation.ending not in (Ending.SETTLED, Ending.QUIET) or not manifest.end_screen:
        return False
    return screen_matches(reading.screen.text, manifest.end_screen)


def skipped_rest(reading: BootReading) -> str:
    """Why an image that came to its end skipped what it has not reported: its last result is a skip. "" where it is
    none.
    """
    suite = reading.transcript.suite
    if suite.closed and suite.lines and suite.lines[-1].status == Status.SKIP:
        return f"the image skipped it: {suite.lines[-1].name}"
    return ""


def gave_up(reading: BootReading) -> bool:
    """Whether an image ended itself with an exit status that is neither of its tests' results nor a skip."""
    status = reading.transcript.suite.exit
    return status not in (None, 0, 1, SKIPPED_EXIT)


def _ended_by_itself(reading: BootReading) -> str:
    """How an image gave up, in words; "" where it did not."""
    if not gave_up(reading):
        return ""
    words = reading.observation.words.decode(errors="replace").splitlines()[-MOST_LAST_LINES:]
    lines = [line.strip() for line in reversed(words) if line.strip() and not line.startswith("difftest exit")]
    last = next(filter(_GAVE_UP.search, lines), lines[0] if lines else "no words")
    return f"the image gave up with exit status {reading.transcript.suite.exit} ({visible(last, 120)})"


def ended(reading: BootReading) -> str:
    """How a boot ended, in words."""
    return f"the boot ended with {reading.observation.ending} ({visible(reading.observation.detail, 200)})"


def _of_check(manifest: Manifest, parts: Parts, check: str) -> Evidence:
    """One side of a check that the image reports, or should have."""
    reading = part_of(parts, check)
    transcript, ending = reading.transcript, reading.observation.ending
    record = transcript.records.get(check)
    if record is None:
        return _unreported(manifest, reading, check)

    def no(reason: str) -> Evidence:
        return Evidence(status=Status.NOT_REPORTED, reason=reason, record=record)

    if transcript.problems:
        return no(f"the transcript is broken: {transcript.problems[0]}")
    broken = record.broken()
    if record.status == Status.PASS and broken:
        return no(f"the image says PASS although {broken[0]} is not as required")
    # What was reported before a later check ended or hung the guest was reported.
    ended_later = transcript.died_in() is not None or (ending in FATAL and bool(transcript.suite.lines))
    in_order = reached_end(manifest, reading) or ending == Ending.FINISHED or (ending in ORDERLY and not manifest.end)
    if not ended_later and not in_order:
        return no(f"reported, but {ended(reading)}")
    if not ended_later and not transcript.complete:
        return no("reported, but the image's closing count is missing")
    return Evidence(status=Status.FAIL if broken else record.status, reason=record.reason, record=record)


def _unreported(manifest: Manifest, reading: BootReading, check: str) -> Evidence:
    """A check without a record: the guest ended or hung in it, or was never there."""
    transcript, ending = reading.transcript, reading.observation.ending
    said = _ended_by_itself(reading) or ended(reading)
    where = transcript.died_in()
    required = {"ending": Ending.TRIPLE_FAULT.value} if where == check and transcript.must_end() else {}
    own = bool(transcript.suite.lines or transcript.suite.sections)
    fields = {"ending": ending.value}
    nothing = Record(check=check, status=Status.NOT_REPORTED, fields=fields, required=required, own=own)
    if where == check and ended_as_required(reading):
        return Evidence(status=Status.PASS, record=nothing)
    if where == check and ending in FATAL | HUNG | ORDERLY:
        how = f"the guest hung in this check: {said}" if ending in HUNG else f"{said} in this check"
        return Evidence(status=Status.DIED, reason=how, record=nothing)
    if skips := skipped_rest(reading):
        return Evidence(status=Status.SKIP, reason=skips, record=nothing)
    if check in manifest.tests and transcript.suite.closed:
        return Evidence(status=Status.SKIP, reason="the image left it out", record=nothing)
    if transcript.suite.lines and ending in ORDERLY and not gave_up(reading):
        reason = "no such result there, although the boot ended in order"
    else:
        reason = f"{UNREPORTED}: {said}" + (f" in {where}" if where else "")
    return Evidence(status=Status.NOT_REPORTED, reason=reason, record=nothing)


def _of_image(manifest: Manifest, reading: BootReading, scope: ScreenScope) -> Evidence:
    """One side of an image as a whole: how it ended, its terminal line and what of its screen is compared."""
    observation, transcript, screen = reading.observation, reading.transcript, reading.screen
    own = [Expression(expression) for expression in manifest.volatile]
    line = masked(transcript.terminal_line, own)
    texts = {row: screen.rows[row].memory for row in VERDICT_ROWS if row in screen.rows}
    rows = {f"row_{row}": "" if is_firmware(text) else text for row, text in texts.items()}
    lines = {f"screen_line_{number}": text for number, text in enumerate(printed_lines(screen), 1)}
    shown = {
        name: masked(visible(text, 80), own) for name, text in (lines if scope == ScreenScope.LINES else rows).items()
    }
    ending = observation.ending
    in_order = ending in ORDERLY or reached_end(manifest, reading)
    # Whether a guest that is done halts or switches off depends on the devices that it finds, not on the CPU.
    fields = {
        "ending": "in order" if in_order else ending.value,
        "terminal_line": line,
        **({} if scope == ScreenScope.NOTHING else shown),
    }
    if dump := exception_dump(observation.words or observation.debug):
        fields[DUMP] = masked(dump, own)
    if not line and not switched_off(reading):  # nothing on its ports: the last words on the screen count instead
        fields["last_screen_line"] = masked(last_words(screen), own)
    suite = transcript.suite
    of_suite = manifest.parameters or bool(suite.lines or suite.exit is not None)
    free = {"ended_with": ending.value}
    record = Record(check=IMAGE, status=Status.NOT_REPORTED, fields=fields, free=free, own=of_suite)
    if ended_as_required(reading):  # its only check
        return Evidence(status=Status.OPEN, record=record)
    if ending in FATAL:
        judged = bool(manifest.right or manifest.wrong)
        return Evidence(status=Status.DIED, reason=ended(reading), record=record, judged=judged)
    if not in_order or (manifest.end and ending in (Ending.HALTED, Ending.POWER_OFF)):
        return Evidence(status=Status.NOT_REPORTED, reason=ended(reading), record=record)
    if not any((line, *shown.values(), fields.get("last_screen_line"))):
        nothing = "the image showed nothing: no words on its ports, no text on the screen"
        return Evidence(status=Status.NOT_REPORTED, reason=nothing, record=record)
    if gave_up(reading):
        return Evidence(status=Status.DIED, reason=_ended_by_itself(reading), record=record)
    if suite.exit == SKIPPED_EXIT or (suite.exit is not None and not suite.lines):
        status = Status.SKIP if suite.exit == SKIPPED_EXIT else Status.FAIL if suite.exit else Status.PASS
        return Evidence(status=status, reason=f"the image's exit status is {suite.exit}", record=record)
    words = [transcript.spoken, *(text.encode() for text in (*texts.values(), *lines.values()))]
    for status, expression in ((Status.FAIL, manifest.wrong), (Status.PASS, manifest.right)):
        if expression and any(map(Expression(expression).search, words)):
            return Evidence(status=status, record=record)
    return Evidence(status=Status.OPEN, record=record)
