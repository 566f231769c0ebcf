"""What L0 did in one check after the other, as a log: KVM's trace events as they came, a line each.

Where exit_log.py counts, this keeps the order, and all numbers of an event. Only what happened between the CPUIDs that
mark a check is in it; docs/formats.md has the lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emulators.host.errors import EmulatorError
from emulators.hosted.exit_log import CPUID, EXIT, MARKS, PAGES, PROBLEM, formats_of, mark
from emulators.hosted.ring_buffer import Event, events

HEAD = b"difftest l0 1\n"
MOST_LINES = 20_000
COMMON = ("common_type", "common_flags", "common_preempt_count", "common_pid", "vcpu_id", "isa")  # says nothing here
LONGEST_TEXT = 200


def l0_log(files: Mapping[str, bytes]) -> bytes:
    """The log, made of what tracing.py fetches. What keeps it from being made is a line in it, too."""
    if PROBLEM in files:
        return HEAD + b"problem " + files[PROBLEM].strip()[:300] + b"\n"
    try:
        lines = list(_lines(events(files.get(PAGES, b""), formats_of(files))))
    except EmulatorError as error:
        return HEAD + f"problem {error}\n".encode("ascii", "replace")
    kept = [*lines[:MOST_LINES], f"end cut={max(0, len(lines) - MOST_LINES)}"]
    return HEAD + "".join(f"{line}\n" for line in kept).encode("ascii", "replace")


def _lines(traced: Iterator[Event]) -> Iterator[str]:
    window: int | None = None
    held: Event | None = None  # an exit, which may be that of a mark
    for event in traced:
        if event.name == CPUID and (marked := mark(event)):
            held, (number, word) = None, marked
            yield f"{number} {word}"
            window = number if word == MARKS[1] else None
            continue
        if held is not None and window is not None:
            yield _line(window, held)
        held = event if event.name == EXIT else None
        if held is None and window is not None:
            yield _line(window, event)
    if held is not None and window is not None:
        yield _line(window, held)


def _line(window: int, event: Event) -> str:
    numbers = [f"{name}={value:#x}" for name, value in event.fields.items() if name not in COMMON]
    texts = [f'{name}="{_plain(text)}"' for name, text in event.texts.items()]
    return " ".join([str(window), event.name, *numbers, *texts])


def _plain(text: str) -> str:
    return "".join(letter if " " <= letter < "\x7f" and letter != '"' else "?" for letter in text[:LONGEST_TEXT])
