"""Watching a boot: collects the guest's serial bytes and tells, of all the things that may end a boot, which came first."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from emulators.observation import Boot, Ending

SETTLE = 0.25  # seconds that the tail of a boot gets: the last serial bytes, the last picture
MARKER_WINDOW = 4096  # bytes before a new chunk that are searched again for the terminal marker

End = tuple[Ending, str]


class Watch:
    """The serial transcript of one boot, and its deadlines."""

    def __init__(self, boot: Boot) -> None:
        self.serial = bytearray()
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self._boot = boot
        self._end = re.compile(boot.end.encode(), re.MULTILINE) if boot.end else None
        self._marked = False
        self._last = self.started

    def go(self) -> None:
        """The guest starts to run now: both deadlines count from here."""
        self.started = self._last = time.monotonic()

    def mark(self, phase: str) -> None:
        """Note how long after the start a phase was reached; the first time counts."""
        self.seconds.setdefault(phase, time.monotonic() - self.started)

    def silent_for(self) -> float:
        """Seconds since the last serial byte, or since the start."""
        return time.monotonic() - self._last

    def feed(self, chunk: bytes) -> End | None:
        """Take serial bytes; tells the ending that they bring, if any. At most the cap is kept."""
        self.mark("first serial byte")
        self._last = time.monotonic()
        start = max(0, len(self.serial) - MARKER_WINDOW)
        cap = self._boot.limits.serial_bytes
        self.serial += chunk[: max(0, cap - len(self.serial))]
        if self._end is not None and not self._marked and self._end.search(self.serial, start):
            self._marked = True
            self.mark("terminal marker")
            return Ending.FINISHED, "terminal marker on the serial port"
        if len(self.serial) >= cap:
            return Ending.FLOOD, f"more than {cap} bytes on the serial port"
        return None

    async def reader(self, stream: asyncio.StreamReader) -> End:
        """Read the serial port until it brings an ending; never returns when it just falls silent or closes."""
        while chunk := await stream.read(65536):
            if end := self.feed(chunk):
                return end
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def deadlines(self) -> End:
        """Ends the boot when the guest was quiet, or ran, for too long."""
        limits = self._boot.limits
        while True:
            now = time.monotonic()
            quiet_left = self._last + limits.quiet - now
            total_left = self.started + limits.total - now
            if total_left <= 0:
                return Ending.TOTAL, f"not over after {limits.total:g} s"
            if quiet_left <= 0:
                return Ending.QUIET, f"nothing on the serial port for {limits.quiet:g} s"
            await asyncio.sleep(min(quiet_left, total_left))

    async def drain(self, stream: asyncio.StreamReader, end: End, settle: float = SETTLE) -> End:
        """Let the tail come in after `end` was seen: a marker that was on its way makes any other ending a finish."""
        if end[0] == Ending.FLOOD:
            return end
        deadline = time.monotonic() + settle
        while (left := deadline - time.monotonic()) > 0:
            try:
                chunk = await asyncio.wait_for(stream.read(65536), left)
            except (TimeoutError, ConnectionError):
                break
            if not chunk:
                break
            if (better := self.feed(chunk)) is not None:
                end = better if end[0] != Ending.FINISHED or better[0] == Ending.FLOOD else end
        return end


@contextlib.asynccontextmanager
async def discarding(stream: asyncio.StreamReader) -> AsyncIterator[None]:
    """Throw away what still comes while the context lasts: an emulator that blocks on a full socket cannot be ended."""

    async def discard() -> None:
        while await stream.read(1 << 20):
            pass

    task = asyncio.ensure_future(discard())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def first(*watchers: Coroutine[Any, Any, End]) -> End:
    """The ending that the first of the watchers reports; the others are cancelled and have ended on return."""
    tasks = [asyncio.ensure_future(watcher) for watcher in watchers]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # Of several that ended in the same turn of the loop, the earliest named says it best.
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
