"""One side of a comparison: what the boots of an image on one target say of each check, and of the image as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from difftest.case import Manifest
from difftest.reading import ScreenReading
from difftest.record import Record, Transcript, parse
from difftest.result import IMAGE
from difftest.screen import VERDICT_ROWS
from difftest.text import visible
from emulators.observation import Ending, Observation

# Ends after which a guest has said all it had to say, and ends that are a behaviour of the machine under test.
ORDERLY = {Ending.FINISHED, Ending.HALTED, Ending.POWER_OFF}
FATAL = {Ending.TRIPLE_FAULT, Ending.RESET, Ending.INTERNAL_ERROR}
DIED = "DIED"
# What a PC's firmware itself leaves as the last words on the screen of an image that prints nothing.
FIRMWARE_LINES = re.compile(r"(Booting from .*|SeaBIOS .*|Bochs .*|ata\d .*|iPXE .*)", re.IGNORECASE)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One boot as the judge sees it: the observation, and what was read from its serial port and its screen."""

    observation: Observation
    transcript: Transcript
    screen: ScreenReading


Parts = Sequence[Seen]  # one repeated boot: the whole image, then what was booted behind checks that killed the guest


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of one check. `status` is PASS, FAIL, OPEN, SKIP, DIED, or "" with the reason why there is none."""

    status: str
    reason: str = ""
    record: Record


def see(observation: Observation, screen: ScreenReading) -> Seen:
    return Seen(observation=observation, transcript=parse(observation.serial), screen=screen)


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


def side_of(manifest: Manifest, parts: Parts, check: str | None) -> Side:
    return _image_side(manifest, parts[0]) if check is None else _check_side(manifest, parts, check)


def _in_order(manifest: Manifest, seen: Seen) -> bool:
    """Whether a boot ended as the case says it ends, with the image's closing count."""
    ending = seen.observation.ending
    return ending in ORDERLY and (not manifest.end or ending == Ending.FINISHED) and seen.transcript.complete


def _check_side(manifest: Manifest, parts: Parts, check: str) -> Side:
    """One side of a check that the image reports, or should have."""
    seen = part_of(parts, check)
    transcript, ending = seen.transcript, seen.observation.ending
    record = transcript.records.get(check)
    ended = f"the boot ended with {ending} ({visible(seen.observation.detail, 200)})"
    if record is None:
        nothing = Record(check=check, status="", fields={"ending": ending.value})
        if transcript.died_in() == check and ending in FATAL:
            return Side(status=DIED, reason=f"{ended} in this check", record=nothing)
        where = transcript.died_in()
        return Side(status="", reason=f"not reported: {ended}" + (f" in {where}" if where else ""), record=nothing)
    if transcript.problems:
        return Side(status="", reason=f"the transcript is broken: {transcript.problems[0]}", record=record)
    if record.status == "PASS" and record.broken():
        return Side(status="", reason=f"the image says PASS although {record.broken()[0]} is not as required", record=record)
    # A later check may have killed this boot: then the boots behind it must have come to an orderly end.
    killed_later = ending in FATAL and transcript.died_in() is not None and _in_order(manifest, parts[-1])
    if not killed_later and (ending not in ORDERLY or (manifest.end and ending != Ending.FINISHED)):
        return Side(status="", reason=f"reported, but {ended}", record=record)
    if not killed_later and not transcript.complete:
        return Side(status="", reason="reported, but the image's closing count is missing", record=record)
    return Side(status=record.status, reason=record.reason, record=record)


def _image_side(manifest: Manifest, seen: Seen) -> Side:
    """One side of an image as a whole: how it ended, its terminal line and rows 20 to 23 of the screen."""
    observation, transcript, screen = seen.observation, seen.transcript, seen.screen
    line = transcript.terminal_line
    rows = {f"row_{row}": visible(screen.rows[row].memory, 80) for row in VERDICT_ROWS if row in screen.rows}
    fields = {"ending": observation.ending.value, "terminal_line": line, **rows}
    if not line:  # an image that never speaks on the serial port: the last words on the screen stand for it
        fields["last_screen_line"] = _last_words(screen)
    record = Record(check=IMAGE, status="", fields=fields)
    ended = f"the boot ended with {observation.ending} ({visible(observation.detail, 200)})"
    if observation.ending not in ORDERLY | FATAL or (manifest.end and observation.ending == Ending.HALTED):
        return Side(status="", reason=ended, record=record)
    if observation.ending in FATAL:
        return Side(status=DIED, reason=ended, record=record)
    if not any((line, *rows.values(), fields.get("last_screen_line"))):
        return Side(status="", reason="the image showed nothing: no serial output, no text on the screen", record=record)
    spoken = observation.serial.rstrip().rpartition(b"\n")[2]
    if manifest.wrong and re.search(manifest.wrong.encode(), spoken):
        return Side(status="FAIL", record=record)
    if manifest.right and re.search(manifest.right.encode(), spoken):
        return Side(status="PASS", record=record)
    return Side(status="OPEN", record=record)


def _last_words(screen: ScreenReading) -> str:
    last = next((text for text in reversed(screen.text) if text.strip()), "")
    return "" if FIRMWARE_LINES.fullmatch(last.strip()) else visible(last.strip(), 80)
