"""From one boot under the reference: where an image ends, and what its last words mean. Proposals, for a person to look
at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from difftest.reading.firmware import last_words
from difftest.reading.record import Transcript, transcript_of
from difftest.reading.screen_reading import ScreenReading
from difftest.text import visible
from emulators.observation import FATAL, ORDERLY, Ending, Observation

CR4_VMXE = 1 << 13
LEAST_MARKER = 3  # letters and digits of a line's constant beginning that make a marker of it

# Words with which images end whatever the outcome: the line is a marker also for outcomes that this boot did not have.
_LAST_WORDS = re.compile(
    r"(?:fatal|halt|panic|abort|assert|kernel panic|shutdown|shutting down|difftest)", re.IGNORECASE
)
# Those of an image that had several tests.
_ALL_DONE = re.compile(
    r"\W*(?:(?:all|the|every|end|of|test(?:s|ing)?|suite|run) )+(?:is |are )?"
    r"(?:done|finished|completed?|passed|over|tests?)\W*",
    re.IGNORECASE,
)
# A screen that waits for somebody: a prompt, or words that ask for something.
_WAITS = re.compile(
    r"[>?] *_?$|^\S*[$#] *_?$|\b(?:boot|login|password|prompt|command|choice|option|selection): *_?$"
    r"|\b(?:press|hit|strike)\b.*\b(?:key|enter|return|space|esc)\b"
    r"|\b(?:insert|change)\b.*\b(?:disk|diskette|floppy|cd|media)\b|\b(?:type|enter|choose|select)\b.*[:?] *_?$",
    re.IGNORECASE,
)
# What follows the first of these varies with the outcome.
_VARIES = re.compile(r"""["'(<\[=]|\b0x|\d""")
_WORDS = re.compile(r"[^\W_]")
# So ends a line of an image that goes on, such as "Loading ...", unless it asks for something: "Press any key ..."
_GOES_ON = re.compile(r"^(?!.*\b(?:press|hit|strike|type|enter|insert|key)\b).*\.{3}\W*$", re.IGNORECASE)
# What means right and what means wrong, as images say it. The wrong word is looked for first, and only as a whole.
_VERDICTS = [
    (r"\bcorrect\b", r"\bincorrect\b"),
    (r"\bGOOD\b", r"\bBAD\b"),
    (r"\bPASS(?:ED)?\b", r"\bFAIL(?:ED|URE)?\b"),
    (r"\bpassed\b", r"\bfailed\b"),
    (r"\b[Ss]uccess(?:ful|fully)?\b", r"\b[Ff]ail(?:ed|ure)?\b"),
]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest could say, "" where nothing offers itself, and what was seen, in sentences."""

    end: str = ""
    end_screen: str = ""
    no_end: str = ""  # why neither of them is proposed although the boot did not come to an end by itself
    right: str = ""
    wrong: str = ""
    needs: list[str] = []
    seen: list[str] = []


def propose(observation: Observation, screen: ScreenReading) -> Proposal:
    said = transcript_of(observation)
    rows = [screen.rows[row].memory for row in sorted(screen.rows)]
    right, wrong = ("", "") if said.speaks else _verdict_words([said.terminal_line, *rows])
    vmx = observation.vmx or bool(int(observation.registers.get("cr4", "0"), 16) & CR4_VMXE)
    end = _end(observation, said)
    end_screen = _end_screen(observation, last_words(screen)) if not said.terminal_line and not right else ""
    return Proposal(
        end=end,
        end_screen=end_screen,
        no_end=_no_end(observation, said, last_words(screen)) if not end and not end_screen else "",
        right=right,
        wrong=wrong,
        needs=["vmx"] if vmx else [],
        seen=list(_seen(observation, said, screen, vmx)),
    )


def _end(observation: Observation, said: Transcript) -> str:
    """A marker: the beginning of the last line, when other outcomes would end with such a line too, or nothing else
    ends it.
    """
    line = said.spoken.rstrip(b"\r").decode(errors="replace")
    if not line.isprintable() or not line:
        return ""
    if observation.ending == Ending.POWER_OFF:
        return ""  # that ends it, and an emulator that is gone at once takes the last line's end along
    if observation.ending in ORDERLY and not _LAST_WORDS.match(line):
        return ""  # it ends by itself, and another outcome may have other last words
    if observation.ending not in ORDERLY and not _is_end(line):
        return ""  # it may have hung there
    if (beginning := _beginning(line)) == "":
        return ""
    marker = rf"{beginning}.*\n"
    whole = observation.serial if said.spoken in observation.serial else observation.debug
    # A marker that is there before the end would end the boot too early; one without a line's end would miss its
    # rest.
    found = re.findall(marker.encode(), whole + b"\n", re.MULTILINE)
    return marker if len(found) == 1 else ""


def _end_screen(observation: Observation, words: str) -> str:
    """What the screen shows at the end of an image that waits, or that gave the machine back: where this firmware halts
    then, another one may wait for ever.
    """
    if observation.ending not in (Ending.QUIET, Ending.HALTED) or _GOES_ON.search(words):
        return ""
    if not _WAITS.search(words) and not _is_end(words):
        return ""
    whole = rf"^ *{re.escape(words)}\s*$".replace(r"\ ", " ") if _WORDS.search(words) else ""
    return _beginning(words) or whole


def _no_end(observation: Observation, said: Transcript, words: str) -> str:
    """Why a boot that did not come to an end by itself gives no marker, in a sentence; "" for one that did."""
    if observation.ending in ORDERLY | FATAL:
        return ""
    last = visible(said.terminal_line or words, 80)
    after = f"after {last!r}, which is neither a prompt nor the words of an end" if last else "without a word"
    return f"the boot ended with {observation.ending} {after}: an image that hangs there would look the same"


def _is_end(line: str) -> bool:
    """Whether a line at which a boot fell silent says that it is over: by last words, or by a verdict."""
    return bool(_LAST_WORDS.match(line) or _ALL_DONE.fullmatch(line)) or any(_verdict_words([line]))


def _beginning(line: str) -> str:
    """An expression for a line by its constant beginning, or "" when that says too little. A verdict's words are no
    part of that: the other verdict ends a boot, too.
    """
    right, wrong = _verdict_words([line])
    either = f"(?:{wrong}|{right})"
    places = [found.start() for found in (_VARIES.search(line), right and re.search(either, line)) if found]
    constant = line[: min(places, default=len(line))]
    if len(_WORDS.findall(constant)) >= LEAST_MARKER:
        return f"^ *{re.escape(constant)}".replace(r"\ ", " ")
    return f"^ *{re.escape(constant)}{either}".replace(r"\ ", " ") if right and re.match(rf"\W*{either}", line) else ""


def _verdict_words(lines: list[str]) -> tuple[str, str]:
    for right, wrong in _VERDICTS:
        if any(re.search(f"{wrong}|{right}", line) for line in lines):
            return right, wrong
    return "", ""


def _seen(observation: Observation, said: Transcript, screen: ScreenReading, vmx: bool) -> Iterator[str]:
    yield f"it ended with {observation.ending}: {visible(observation.detail, 200)}"
    if said.terminal_line:
        yield f"its last line was: {visible(said.terminal_line, 200)}"
    elif words := last_words(screen):
        yield f"it said nothing on its ports; the last words on the screen were: {visible(words, 80)}"
        if observation.ending == Ending.QUIET and _GOES_ON.search(words):
            yield "those are no words to end with: look whether it gets on when it has more time (--quiet-seconds)"
    else:
        yield "it showed nothing at all"
    yield from (
        f"row {row} of the screen: {visible(one.memory, 80)}" for row, one in sorted(screen.rows.items()) if one.memory
    )
    if said.records or said.started:
        yield f"it prints records: {len(said.records)} checks"
    elif said.suite.lines:
        yield f"it prints results line by line: {len(said.suite.lines)} of them, which are compared one by one"
    if vmx:
        yield "it uses VMX: a VM exit was seen, or it had CR4.VMXE set at its end"
    if observation.debug:
        yield f"it wrote {len(observation.debug)} bytes to port 0xE9"
    if observation.ending == Ending.QUIET and observation.serial and not observation.serial.endswith((b"\n", b"\r")):
        yield "the serial output breaks off in the middle of a line: the guest may have hung there"
    if observation.ending in FATAL:
        yield "that is a death under the reference: look whether the machine has what the image needs"
    yield from observation.alarms
