"""What ends a boot that says nothing: pictures of its screen, and the text once they have come to rest. No emulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from emulators.observation import TEXT_BYTES, Boot, Ending, Limits
from emulators.text_screen import text_rows
from emulators.watch import End, Watch, first

LIMITS = Limits(quiet=0.4, total=3)
EVERY = 0.02


class Shown:
    """A screen that shows these pictures one after the other, and the last for ever. A picture is its text in row 3."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self._pictures: Iterator[str] = iter(pictures)
        self._now = ""
        self.glances = 0
        self.read: list[str] = []

    async def glance(self) -> bytes:
        self.glances += 1
        self._now = next(self._pictures, self._now)
        return self._now.encode()

    async def text(self) -> bytes:
        self.read.append(self._now)
        cells = b"".join(bytes([byte, 7]) for byte in self._now.encode())
        return (bytes(3 * 160) + cells).ljust(TEXT_BYTES, b"\0")


async def watched(screen: Shown, end_screen: str) -> End:
    watch = Watch(Boot(image=Path("x"), image_sha256="", limits=LIMITS, end_screen=end_screen))
    return await first(watch.looks(screen, EVERY), watch.deadlines())


async def test_a_screen_that_shows_the_end_and_stands_still_ends_it_at_once() -> None:
    screen = Shown(["", "loading", "loading", "  prompt>"])
    begun = time.monotonic()
    assert (await watched(screen, "^ *prompt>"))[0] == Ending.SETTLED
    assert time.monotonic() - begun < LIMITS.quiet
    assert screen.glances == 5, "the picture was seen to stay"
    assert screen.read == ["loading", "  prompt>"], "text is read of a picture that stayed, once"


@pytest.mark.parametrize("end_screen", ["^other", "^rompt>", ""])
async def test_another_screen_ends_it_in_silence(end_screen: str) -> None:
    screen = Shown(["prompt>"])
    assert (await watched(screen, end_screen))[0] == Ending.QUIET
    assert len(screen.read) == bool(end_screen), "what did not match is not read again"


async def test_a_screen_that_changes_does_not_end_although_it_matches() -> None:
    """A countdown below the words."""
    screen = Shown(f"prompt> {left}" for left in range(1000))
    assert (await watched(screen, "^prompt>"))[0] == Ending.TOTAL
    assert screen.read == []


async def test_a_blinking_cursor_is_no_change() -> None:
    screen = Shown(chain(["prompt>"], *repeat(["prompt>_", "prompt>"], 1000)))
    assert (await watched(screen, "^prompt>"))[0] == Ending.SETTLED
    assert screen.glances == 3


async def test_no_look_is_taken_while_the_ports_speak() -> None:
    screen = Shown(["prompt>"])
    watch = Watch(Boot(image=Path("x"), image_sha256="", limits=LIMITS, end_screen="^prompt>"))
    looking = asyncio.ensure_future(watch.looks(screen, EVERY))
    for _ in range(40):
        watch.serial.feed(b".")
        await asyncio.sleep(EVERY / 8)
    assert screen.glances == 0 and not looking.done()
    assert (await asyncio.wait_for(looking, 2))[0] == Ending.SETTLED


def test_what_is_no_text_memory_has_no_rows() -> None:
    assert text_rows(b"") == text_rows(None) == []


@pytest.mark.parametrize(("halted", "speaks", "expected"), [
    (False, False, (Ending.QUIET, 0.4)), (True, False, (Ending.HALTED, 0.2)), (True, True, (Ending.QUIET, 0.4)),
])  # fmt: skip
async def test_a_halted_guest_that_nothing_wakes_is_over_sooner(
    tmp_path: Path, halted: bool, speaks: bool, expected: tuple[Ending, float]
) -> None:
    watch = Watch(Boot(image=tmp_path, image_sha256="", limits=LIMITS, end="^never$"))
    watch.halted = halted
    if speaks:
        watch.serial.feed(b"awake\n")
    begun = time.monotonic()
    ending, _ = await watch.deadlines()
    assert (ending, time.monotonic() - begun) == (expected[0], pytest.approx(expected[1], abs=0.15))
