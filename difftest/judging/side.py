"""One side of a comparison: what the boots of an image on one target say of each check, and of the image as a whole."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

import msgspec

from difftest.case.manifest import IMAGE, Manifest
from difftest.reading.firmware import is_firmware, last_words, printed_lines
from difftest.reading.record import Record
from difftest.reading.screen_reading import VERDICT_ROWS
from difftest.reading.seen import Parts, Seen
from difftest.reading.suite import Line, identified, masked
from difftest.text import visible
from emulators.observation import Ending
from emulators.text_screen import shows

# Ends after which a guest has said all it had to say, and ends that are a behaviour of the machine under test.
ORDERLY = {Ending.FINISHED, Ending.HALTED, Ending.POWER_OFF}
FATAL = {Ending.TRIPLE_FAULT, Ending.RESET, Ending.INTERNAL_ERROR}
DIED = "DIED"


class Compared(enum.Enum):
    """What of the screen is held against the other side's."""

    NOTHING = "nothing"
    ROWS = "rows"  # rows 20 to 23
    LINES = "lines"  # what was printed below the firmware's words, wherever that stands


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of one check. `status` is PASS, FAIL, OPEN, SKIP, DIED, or "" with the reason why there is none."""

    status: str
    reason: str = ""
    record: Record


def aligned(manifest: Manifest, *sides: Sequence[Seen]) -> list[list[Seen]]:
    """The boots of all sides with the results that images print as lines made records, under ids that hold on all
    sides.
    """
    seens = [seen for side in sides for seen in side]
    ids = iter(identified([seen.transcript.suite.lines for seen in seens], manifest.volatile))
    return [[_with_lines(seen, next(ids)) for seen in side] for side in sides]


def _with_lines(seen: Seen, lines: dict[str, Line]) -> Seen:
    if not lines:
        return seen
    records = {check: _record(check, line) for check, line in lines.items()}
    return msgspec.structs.replace(
        seen, transcript=msgspec.structs.replace(seen.transcript, records=records, complete=True)
    )


def _record(check: str, line: Line) -> Record:
    fields = {"said": line.said} if line.status == "OPEN" else {}
    return Record(
        check=check, status=line.status, fields=fields, free={"line": line.name} if line.name not in check else {}
    )


def by_repeat(seens: Sequence[Seen]) -> list[Parts]:
    """The parts of each repeated boot, in order."""
    groups: dict[int, list[Seen]] = {}
    for seen in sorted(seens, key=lambda seen: seen.observation.part):
        groups.setdefault(seen.observation.repeat, []).append(seen)
    return [groups[repeat] for repeat in sorted(groups)]


def part_of(parts: Parts, check: str | None) -> Seen:
    """The part that tells of a check: the one that reported it, or that died in it, or else the last."""
    if check is None:
        return parts[0]
    reported = [seen for seen in parts if check in seen.transcript.records]
    fatal = [seen for seen in parts if seen.transcript.died_in() == check]
    return (reported or fatal or [parts[-1]])[0]


def side_of(manifest: Manifest, parts: Parts, check: str | None, compared: Compared) -> Side:
    """What a side says of a check, or of the image as a whole (None)."""
    return _image_side(manifest, parts[0], compared) if check is None else _check_side(manifest, parts, check)


def compared(manifest: Manifest, *seens: Seen) -> Compared:
    """What of these sides' screens can be compared."""
    if manifest.end_screen or any(switched_off(seen) for seen in seens):
        return Compared.NOTHING  # where a prompt stands depends on how much the firmware has said before
    if all(printed_lines(seen.screen) for seen in seens):
        return Compared.LINES
    return Compared.ROWS


def switched_off(seen: Seen) -> bool:
    """Whether the emulator was gone with the guest's last word, and with it the screen."""
    return seen.observation.ending == Ending.POWER_OFF and seen.observation.screen is None


def settled(manifest: Manifest, seen: Seen) -> bool:
    """Whether a silent guest shows what the case says it ends with, such as a prompt. What the boot was stopped for
    counts only if the screen shows it afterwards, too.
    """
    if seen.observation.ending not in (Ending.SETTLED, Ending.QUIET) or not manifest.end_screen:
        return False
    return shows(seen.screen.text, manifest.end_screen)


def _in_order(manifest: Manifest, seen: Seen) -> bool:
    """Whether a boot ended as the case says it ends, with the image's closing count."""
    ending = seen.observation.ending
    return ending in ORDERLY and (not manifest.end or ending == Ending.FINISHED) and seen.transcript.complete


def _ended(seen: Seen) -> str:
    return f"the boot ended with {seen.observation.ending} ({visible(seen.observation.detail, 200)})"


def _check_side(manifest: Manifest, parts: Parts, check: str) -> Side:
    """One side of a check that the image reports, or should have."""
    seen = part_of(parts, check)
    transcript, ending = seen.transcript, seen.observation.ending
    record = transcript.records.get(check)
    if record is None:
        ended = _ended(seen)
        nothing = Record(check=check, status="", fields={"ending": ending.value})
        if transcript.died_in() == check and ending in FATAL:
            return Side(status=DIED, reason=f"{ended} in this check", record=nothing)
        if transcript.suite.lines and ending in ORDERLY:
            return Side(status="", reason="no such result there, although the boot ended in order", record=nothing)
        where = transcript.died_in()
        return Side(status="", reason=f"not reported: {ended}" + (f" in {where}" if where else ""), record=nothing)
    if transcript.problems:
        return Side(status="", reason=f"the transcript is broken: {transcript.problems[0]}", record=record)
    if record.status == "PASS" and record.broken():
        return Side(
            status="", reason=f"the image says PASS although {record.broken()[0]} is not as required", record=record
        )
    # A later check may have killed this boot: then the boots behind it must have come to an orderly end.
    killed_later = ending in FATAL and transcript.died_in() is not None and _in_order(manifest, parts[-1])
    # What a suite printed before it died was printed; that it died is told of the image as a whole.
    killed_later |= ending in FATAL and bool(transcript.suite.lines)
    in_order = settled(manifest, seen) or ending == Ending.FINISHED or (ending in ORDERLY and not manifest.end)
    if not killed_later and not in_order:
        return Side(status="", reason=f"reported, but {_ended(seen)}", record=record)
    if not killed_later and not transcript.complete:
        return Side(status="", reason="reported, but the image's closing count is missing", record=record)
    return Side(status=record.status, reason=record.reason, record=record)


def _image_side(manifest: Manifest, seen: Seen, compared: Compared) -> Side:
    """One side of an image as a whole: how it ended, its terminal line and what of its screen is compared."""
    observation, transcript, screen = seen.observation, seen.transcript, seen.screen
    own = [re.compile(expression) for expression in manifest.volatile]
    line = masked(transcript.terminal_line, own)
    texts = {row: screen.rows[row].memory for row in VERDICT_ROWS if row in screen.rows}
    rows = {f"row_{row}": "" if is_firmware(text) else text for row, text in texts.items()}
    lines = {f"screen_line_{number}": text for number, text in enumerate(printed_lines(screen), 1)}
    shown = {
        name: masked(visible(text, 80), own) for name, text in (lines if compared == Compared.LINES else rows).items()
    }
    ending = observation.ending
    in_order = ending in ORDERLY or settled(manifest, seen)
    # Whether a guest that is done halts or switches off depends on the devices that it finds, not on the CPU.
    fields = {
        "ending": "in order" if in_order else ending.value,
        "terminal_line": line,
        **({} if compared == Compared.NOTHING else shown),
    }
    if not line and not switched_off(
        seen
    ):  # an image that says nothing on its ports: the last words on the screen stand for it
        fields["last_screen_line"] = masked(last_words(screen), own)
    record = Record(check=IMAGE, status="", fields=fields, free={"ended_with": ending.value})
    if ending in FATAL:
        return Side(status=DIED, reason=_ended(seen), record=record)
    if not in_order or (manifest.end and ending in (Ending.HALTED, Ending.POWER_OFF)):
        return Side(status="", reason=_ended(seen), record=record)
    if not any((line, *shown.values(), fields.get("last_screen_line"))):
        return Side(
            status="", reason="the image showed nothing: no words on its ports, no text on the screen", record=record
        )
    words = [transcript.spoken, *(text.encode() for text in (*texts.values(), *lines.values()))]
    for status, expression in (("FAIL", manifest.wrong), ("PASS", manifest.right)):
        if expression and any(re.search(expression.encode(), said) for said in words):
            return Side(status=status, record=record)
    return Side(status="OPEN", record=record)
