"""How two boots of an image ended that one cannot hold against each other, and what would decide it: for people. And
where the transcript of one ends that left, while the other went on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from difftest.case.manifest import Manifest
from difftest.judging.evidence import reached_end, switched_off
from difftest.judging.result import Field
from difftest.reading.boot_reading import BootReading, read_boot
from difftest.reading.firmware import last_words
from difftest.text import visible
from emulators.observation import LEFT_BY_PORT, ORDERLY, Ending

MOST_WORDS = 3  # of a line in the expression for it
_SILENT, _WENT_ON, _ENDED = "fell silent after", "went on until it was stopped, at last with", "came to its end with"


def until_it_left(reading: BootReading, other: BootReading) -> BootReading:
    """The boot as far as the other one went that left through port 0xF4. Where there is no such port a guest goes on:
    what it says then is none of the comparison. Only where it said the same up to there.
    """
    ours, theirs = reading.observation, other.observation
    if not theirs.detail.startswith(LEFT_BY_PORT) or ours.detail.startswith(LEFT_BY_PORT):
        return reading
    ports = {}
    for port in ("serial", "debug"):
        said, until = getattr(ours, port), getattr(theirs, port)
        if said.startswith(until) and len(said) > len(until):
            ports[port] = until
    if not ports:
        return reading
    return read_boot(msgspec.structs.replace(ours, **ports), reading.screen, reading.boot)


def text_hints(fields: Sequence[Field]) -> list[str]:
    """What to consider before a difference in what an image printed is claimed."""
    if not any(field.differs and field.name != "ending" for field in fields):
        return []
    return [
        "the firmware and the devices of the two sides are others, too: what an image prints of them (memory map, PCI, "
        "ACPI, times) says nothing of the CPU; --volatile REGEX, or `volatile` in a manifest, leaves it out"
    ]


def end_hints(manifest: Manifest, sides: dict[str, BootReading]) -> list[str]:
    """What to make of two boots, by their targets, where one at least came to no end, and the option that helps."""
    kinds = {name: _kind(manifest, reading) for name, reading in sides.items()}
    if not all(kinds.values()) or set(kinds.values()) == {_ENDED}:
        return []
    if unseen := [name for name, reading in sides.items() if _unseen(reading)]:
        return [
            f"nothing of the guest on {', '.join(unseen)} could be seen: KVM of this host (-t kvm) or QEMU alone "
            "(-t tcg) may show it"
        ]
    did = "; ".join(f"{name} {kinds[name]} {_last(reading)}" for name, reading in sides.items())
    enough = f"if that is its end, say so: {_say_end(sides)}"
    if set(kinds.values()) == {_WENT_ON}:
        return [f"{did}; --timeout SECONDS gives more time; {enough}"]
    if len({_last(reading) for reading in sides.values()}) == 1:
        alike = (
            "two hangs look the same" if set(kinds.values()) == {_SILENT} else "one may only wait where the other ends"
        )
        return [f"{did}: {alike}; {enough}"]
    slower = "--timeout SECONDS, or difftest add FILE --quiet-seconds SECONDS"
    return [f"{did}; that is a difference, unless one side only takes longer ({slower})"]


def _unseen(reading: BootReading) -> bool:
    """Whether a boot gave no word, and no screen that could have had one."""
    observation = reading.observation
    return observation.text_memory is None and not reading.transcript.terminal_line and not switched_off(reading)


def _kind(manifest: Manifest, reading: BootReading) -> str:
    """How a boot ended, in words that its last words follow; "" for an end that says enough by itself."""
    ending = reading.observation.ending
    if ending in ORDERLY or reached_end(manifest, reading):
        return _ENDED
    return {Ending.QUIET: _SILENT, Ending.TOTAL: _WENT_ON, Ending.FLOOD: _WENT_ON}.get(ending, "")


def _last(reading: BootReading) -> str:
    """The last words of a boot: of its ports, or else of its screen."""
    words = visible(reading.transcript.terminal_line, 80) or last_words(reading.screen)
    return repr(words) if words else "no word at all"


def _say_end(sides: dict[str, BootReading]) -> str:
    """The option of `difftest run` that says where the image ends, as one may type it."""
    reading = next(iter(sides.values()))
    line, words = reading.transcript.terminal_line, last_words(reading.screen)
    option, text = ("--end", line) if line else ("--end-screen", words)
    beginning = re.escape(" ".join(visible(text, 400).split(" ")[:MOST_WORDS])).replace(r"\ ", " ")
    return f"{option} {shlex.quote(f'^ *{beginning}')}" if text else "--end REGEX or --end-screen REGEX"
