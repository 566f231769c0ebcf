"""Watching a boot: collects what the guest says on COM1 and on port 0xE9 and finds, of all the things that may end a
boot, which came first.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from emulators.host.errors import EmulatorError
from emulators.host.expression import Expression
from emulators.host.files import sha256
from emulators.host.limits import AnswerTimeout
from emulators.host.paths import neutral
from emulators.observation import LEFT_BY_PORT, Boot, Ending, Observation
from emulators.text_screen import Screen, screen_matches, text_rows

SETTLE = 0.25  # seconds that the tail of a boot gets: the last serial bytes, the last picture
MARKER_WINDOW = 4096  # bytes before a new chunk that are searched again for the terminal marker
HALTED_SHARE = 0.5  # of the quiet limit: how long a guest in HLT with interrupts off may take to be woken
STATES = 8  # looks at a guest's memory in the quiet limit; the first comes when it has been silent for two of these
SHUTDOWN_WORD = b"Shutdown"  # written to port 0x8900, it switches an old Bochs BIOS' machine off

End = tuple[Ending, str]


class GuestState(NamedTuple):
    """What a guest that says nothing does, seen without touching it."""

    memory: bytes  # a hash of its RAM
    idle: bool  # its CPUs mostly wait for interrupts


class Watch:
    """The transcripts of one boot, and its deadlines."""

    def __init__(self, boot: Boot) -> None:
        self.serial = Port("the serial port", self)
        self.debug = Port("port 0xE9", self)
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.cap = boot.limits.serial_bytes
        self.end = Expression(boot.end, multiline=True) if boot.end else None
        self.last = self.started  # when it said or showed something last
        self.compared: float | None = None  # when its memory was last compared; None where it cannot be
        self.progressed = self.started  # when its memory was last found with a content that it did not have before
        self.said_before_panic: int | None = None  # see Observation
        self.halted = False  # seen in HLT with interrupts off, which a VM exit may end, and silent since
        self._boot = boot

    def go(self) -> None:
        """The guest starts to run now: both deadlines count from here."""
        self.started = self.last = self.progressed = time.monotonic()

    def mark(self, phase: str) -> None:
        """Note how long after the start a phase was reached; the first time counts."""
        self.seconds.setdefault(phase, time.monotonic() - self.started)

    def spoken(self) -> bool:
        return bool(self.serial.data or self.debug.data)

    def silent_for(self) -> float:
        """Seconds since the guest's last byte, or since the start."""
        return time.monotonic() - self.last

    async def observation(self, target: str, identity: dict[str, str], end: End, **fields: Any) -> Observation:
        """The observation of this boot, which is over: what was watched, and the `fields` that the emulator gives. The
        image is hashed once more.
        """
        watched = {
            "debug": bytes(self.debug.data),
            "said_before_panic": self.said_before_panic,
            "seconds": self.seconds,
        }
        return Observation(
            target=target,
            identity=identity,
            image_sha256=self._boot.image_sha256,
            image_sha256_after=await asyncio.to_thread(sha256, self._boot.image),
            ending=end[0],
            detail=neutral(end[1]),
            serial=bytes(self.serial.data),
            **{**watched, **fields},
        )

    async def looks(self, screen: Screen, every: float) -> End:
        """Look at the screen while the ports are silent. A picture that was not there before is a sign of life, one
        that comes back is not: cursors blink. The first time that one comes back its text is read; it is over when that
        is its end.
        """
        with contextlib.suppress(AnswerTimeout):  # one that cannot be looked at ends by the deadlines
            return await self._looks(screen, every)
        return await never()

    async def _looks(self, screen: Screen, every: float) -> End:
        every = min(every, self._boot.limits.quiet / 4)  # the first picture is what later ones are compared with
        pictures: set[bytes] = set()
        read: set[bytes] = set()
        while True:
            await asyncio.sleep(every)
            if self.silent_for() < every:
                continue
            picture = await screen.glance()
            if picture not in pictures:
                if pictures:
                    self.last = time.monotonic()
                pictures.add(picture)
            elif self._boot.end_screen and picture not in read:
                read.add(picture)
                if screen_matches(text_rows(await screen.text()), self._boot.end_screen):
                    return Ending.SETTLED, "the screen shows what it ends with, and stands still"

    async def progress(self, look: Callable[[], Awaitable[GuestState]]) -> End:
        """Look at the guest's memory while ports and screen are silent; never ends. A content that was not there before
        is progress, unless the CPUs only wait for interrupts. One that comes back is none: a loop.
        """
        with contextlib.suppress(EmulatorError, OSError):  # one that cannot be looked at ends by silence alone
            self.compared = self.started
            await self._progress(look, self._boot.limits.quiet / STATES)
        self.compared = None
        return await never()

    async def _progress(self, look: Callable[[], Awaitable[GuestState]], every: float) -> None:
        contents: set[bytes] = set()
        while True:
            await asyncio.sleep(every)
            if self.silent_for() < 2 * every:
                continue
            state = await look()
            if contents:
                self.compared = time.monotonic()
                if state.memory not in contents and not state.idle:
                    self.progressed = self.compared
            contents.add(state.memory)

    async def deadlines(self) -> End:
        """Ends the boot when the guest was quiet without progress, or ran, for too long."""
        limits = self._boot.limits
        while True:
            now = time.monotonic()
            quiet = limits.quiet * (HALTED_SHARE if self.halted else 1)
            quiet_left = (self.last if self.halted else max(self.last, self.progressed)) + quiet - now
            total_left = self.started + limits.total - now
            if total_left <= 0:
                return Ending.TOTAL, f"not over after {limits.total:g} s{self._silence()}"
            if quiet_left <= 0 and not self.halted and self._unseen(now):
                await asyncio.sleep(quiet / STATES)
                continue
            if quiet_left <= 0 and self.halted:
                return Ending.HALTED, f"HLT with interrupts off, and nothing woke it for {quiet:g} s"
            if quiet_left <= 0:
                return Ending.QUIET, f"nothing new on its ports and its screen for {limits.quiet:g} s"
            await asyncio.sleep(min(quiet_left, total_left, 1.0))

    def _unseen(self, now: float) -> bool:
        """Whether a host under load has not got round to looking at the memory in the second half of the silence. It is
        given as much time again.
        """
        quiet, since = self._boot.limits.quiet, max(self.last, self.progressed)
        return self.compared is not None and self.compared < since + quiet / 2 and now < since + 2 * quiet

    def _silence(self) -> str:
        """What is to be said of a guest that was still at work."""
        silent = self.silent_for()
        if silent < self._boot.limits.quiet:
            return ""
        return f": it has said nothing for {silent:.0f} s, and its memory still changes"


class Port:
    """What came through one port; at most the cap is kept."""

    def __init__(self, name: str, watch: Watch) -> None:
        self.data = bytearray()
        self._name = name
        self._watch = watch
        self._marked = False

    def feed(self, chunk: bytes) -> End | None:
        """Take bytes; gives the ending that they bring, if any."""
        watch = self._watch
        watch.mark(f"first byte on {self._name}")
        watch.last = time.monotonic()
        watch.halted = False
        start = max(0, len(self.data) - MARKER_WINDOW)
        self.data += chunk[: max(0, watch.cap - len(self.data))]
        if watch.end is not None and not self._marked and watch.end.search(self.data, start):
            self._marked = True
            watch.mark("terminal marker")
            return Ending.FINISHED, f"terminal marker on {self._name}"
        if len(self.data) >= watch.cap:
            return Ending.FLOOD, f"more than {watch.cap} bytes on {self._name}"
        return None

    async def reader(self, stream: asyncio.StreamReader) -> End:
        """Read the port until it brings an ending; never returns when it just falls silent or closes."""
        with contextlib.suppress(ConnectionError):
            while chunk := await stream.read(65536):
                if end := self.feed(chunk):
                    return end
        return await never()

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


def exited(code: int) -> End:
    return Ending.POWER_OFF, f"{LEFT_BY_PORT} with code {code}"


def shut_down() -> End:
    return Ending.POWER_OFF, "the guest wrote Shutdown to port 0x8900"


async def exit_port(stream: asyncio.StreamReader) -> End:
    """The first byte that the guest writes to port 0xF4, where QEMU's isa-debug-exit usually is, ends it."""
    code = await stream.read(1)
    return exited(code[0]) if code else await never()


async def shutdown_port(stream: asyncio.StreamReader) -> End:
    """The word that the guest writes to port 0x8900 to switch itself off."""
    window = b""
    while chunk := await stream.read(64):
        window = window[-len(SHUTDOWN_WORD) :] + chunk
        if SHUTDOWN_WORD in window:
            return shut_down()
    return await never()


async def never() -> End:
    """What a watcher returns that will see no end any more."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def appended(path: Path, poll: float) -> AsyncIterator[bytes]:
    """What is written to the end of a file, piece by piece, for ever. It may not be there yet; `poll` is in seconds."""
    with path.open("a+b", buffering=0) as file:  # which makes it where it is not there
        file.seek(0)
        while True:
            if fresh := file.read():
                yield fresh
            await asyncio.sleep(poll)


@contextlib.asynccontextmanager
async def discarding(*streams: asyncio.StreamReader) -> AsyncIterator[None]:
    """Throw away what still comes while the context lasts: an emulator that blocks on a full socket cannot be ended."""

    async def discard(stream: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while await stream.read(1 << 20):
                pass

    tasks = [asyncio.ensure_future(discard(stream)) for stream in streams]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
