"""The debugger of Bochs, spoken to over Bochs' console: interrupts the simulation and asks about the machine.

The console is two pipes, Bochs' input and both its outputs. No pseudo-terminal: it would change bytes, and what the
guest writes to port 0xE9 comes on the console, too, and has to stay as it is.

Two things make the dialogue safe. Bochs forgets an interrupt that reaches it before `continue` has begun, so SIGINT is
sent until the debugger has answered. And the guest may write prompts and answers of its own, so the first command after
an interrupt is a sum of two random numbers: its result is on the console only when the debugger has computed it, and
nothing that follows is the guest's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

from pexpect import EOF, TIMEOUT
from pexpect.fdpexpect import fdspawn

from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.process import Process

AGAIN_SECONDS = 0.5  # after which an interrupt that shows no effect is sent again
WINDOW = 4096  # bytes at the end of what has come that a pattern is searched in: more would make a flood quadratic
MOST_BYTES = 64 << 20  # of the console that are kept

# The guest's bytes begin after the place where the simulation starts, and end before the debugger's words on the place
# where it stops, or on why Bochs gives up.
STARTED = rb"^Next at t=0\n(?:\(\d+\) [^\n]*\n){%d}(?:(?:Switching to CPU\d+\n)?vmexit switch break enabled\n){%d}"
STOPPED = re.compile(
    rb"(?:\(\d+\)\.\[\d+\] [^\n]*\n|\(\d+\) Caught VMEXIT breakpoint\n)?(?:Next at t=\d+\n(?:\(\d+\) [^\n]*\n)+)?\Z"
    rb"|={70,}\nBochs is exiting with the following message:\n(?!.*Bochs is exiting).*\Z",
    re.DOTALL,
)
PROMPT = re.compile(rb"<bochs:\d+> \Z")
NEXT = re.compile(rb"^\(\d+\)(?:\.\[\d+\])? \[0x([0-9a-f]{1,16})\]", re.MULTILINE)
GO_ON = b"c\n"


class BochsEnd(EmulatorError):
    """Bochs has ended while it was asked: by itself, as when the guest switches the machine off."""


class Debugger:
    """The debugger's console from this end. Close with `close()`.

    `input` and `output` are Bochs' ends of the pipes. `guest` streams what the guest writes to port 0xE9, with the
    debugger's words after it when the simulation stops by itself.
    """

    def __init__(self) -> None:
        self.guest = asyncio.StreamReader()
        self.prompted = asyncio.Event()  # set when a prompt comes that nobody asked for; the guest can fake one
        self.input, self._to_bochs = os.pipe()
        ours, self.output = os.pipe()
        self._console: fdspawn[bytes] = fdspawn(ours, timeout=None, searchwindowsize=WINDOW)
        self._console.logfile_read = self  # its write() gets all that comes, as it comes
        self._process: Process | None = None
        self._said = bytearray()
        self._count = 0  # bytes that have come, those that are not kept included
        self._ran: list[tuple[int, int]] = []  # the parts of the console from where the guest ran to where it stopped
        self._runs_from: int | None = None  # where the part begins that grows while the guest runs
        self._watching: asyncio.Task[None] | None = None  # reads the console meanwhile
        self._prompt = 0  # the number of the last prompt
        self._echoes = False  # whether the console shows commands, too: readline does it
        self.places: list[int] = []  # where the CPUs were when the simulation was stopped last: physical addresses
        self._pausing = asyncio.Lock()
        self._stopping = False

    def serve(self, process: Process) -> None:
        """Ask this process, which has `input` and `output` for its own: they are closed here."""
        self._process = process
        self._close_theirs()

    async def started(self, cpus: int = 1, watched: int = 0) -> None:
        """Wait until the debugger is up and has let the simulation start: an interrupt before that kills Bochs. Its
        machine has `cpus`, of which `watched` are to stop at a VM exit.

        Raises BochsEnd, and EmulatorError when it does not come up in time.
        """
        try:
            await self._expect(re.compile(STARTED % (cpus, watched), re.MULTILINE), limits.BOCHS_START)
        except TimeoutError:
            raise EmulatorError("Bochs' debugger does not come up", evidence=self._tail()) from None
        rest = bytes(self._console.buffer)
        self._runs_from = self._count - len(rest)
        self.guest.feed_data(rest)
        self._watching = asyncio.create_task(self._watch())

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """The simulation stands still while the context lasts, and goes on after it. Not to be cancelled.

        Raises BochsEnd, and EmulatorError when it does not stop.
        """
        async with self._pausing:
            await self.stop()
            yield
            self._send(GO_ON)
            self._runs_from = self._count + (len(GO_ON) if self._echoes else 0)
            self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Interrupt the simulation, unless it stands still.

        Raises BochsEnd, and EmulatorError when it does not stop.
        """
        await self._unwatched()
        unfed, self._stopping = self._count, True  # from here on the debugger's words are among the guest's
        one, other = secrets.randbits(30), secrets.randbits(30)
        result = re.compile(rb"%#x %d\r?\n<bochs:(\d+)> " % (one + other, one + other))
        self._send(b"calc %#x + %#x\n" % (one, other))
        deadline = time.monotonic() + limits.BOCHS_STOP
        while True:
            if self._process is not None:
                self._process.send_signal(signal.SIGINT)
            try:
                await self._expect(result, AGAIN_SECONDS)
                break
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise self._mute() from None
        match, rest = self._console.match, len(self._console.buffer)
        assert isinstance(match, re.Match)
        self._prompt = int(match.group(1))
        if self._runs_from is not None:
            computed = self._count - rest - len(match.group())
            prompt = b"<bochs:%d> " % (self._prompt - 1)
            stopped = self._said.rfind(prompt, self._runs_from, computed)
            self._echoes = computed - stopped > len(prompt)
            end = stopped if stopped >= 0 else computed
            words = self._said[max(self._runs_from, end - WINDOW) : end]
            self.places = [int(place, 16) for place in NEXT.findall(words)]
            self.guest.feed_data(_guests(bytes(self._said[max(self._runs_from, unfed) : end])))
            self._ran.append((self._runs_from, end))
            self._runs_from = None
        self._stopping = False

    async def command(self, text: str) -> str:
        """One command's output. Only while the simulation stands still.

        Raises BochsEnd, and EmulatorError when no answer comes.
        """
        self._send(text.encode() + b"\n")
        try:
            answer = await self._expect(re.compile(rb"<bochs:%d> " % (self._prompt + 1)), limits.BOCHS_ANSWER)
        except TimeoutError:
            raise self._mute() from None
        self._prompt += 1
        return answer.decode(errors="replace")

    async def quit(self) -> None:
        """Leave the debugger, and with it Bochs. Only while the simulation stands still."""
        with contextlib.suppress(BochsEnd, TimeoutError):  # its process is ended in any case
            self._send(b"quit\n")
            await self._expect(EOF, limits.BOCHS_STOP)

    def said(self) -> bytes:
        """All that came on the console."""
        return bytes(self._said)

    def debug_port(self) -> bytes:
        """What the guest has written to port 0xE9, if the configuration has `port_e9_hack`."""
        parts = [*self._ran, *([] if self._runs_from is None else [(self._runs_from, len(self._said))])]
        return b"".join(_guests(bytes(self._said[begin:end])) for begin, end in parts)

    async def close(self) -> None:
        await self._unwatched()
        self.guest.feed_eof()
        self._close_theirs()
        os.close(self._to_bochs)
        if self._console.async_pw_transport is None:
            self._console.close()
        else:
            self._console.async_pw_transport[1].close()

    def write(self, data: bytes) -> None:
        """Called by pexpect with what has come."""
        if self._runs_from is not None and not self._stopping:
            self.guest.feed_data(data[max(0, self._runs_from - self._count) :])
        self._count += len(data)
        self._said += data[: max(0, MOST_BYTES - len(self._said))]

    def flush(self) -> None:
        """Called by pexpect."""

    def _close_theirs(self) -> None:
        for end in (self.input, self.output):
            if end >= 0:
                os.close(end)
        self.input = self.output = -1

    async def _watch(self) -> None:
        """Read the console while the guest runs."""
        with contextlib.suppress(BochsEnd):
            while True:
                await self._expect(PROMPT, None)
                self.prompted.set()

    async def _unwatched(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._to_bochs, data)
        except OSError as error:
            raise self._gone() from error

    async def _expect(self, pattern: re.Pattern[bytes] | type[EOF], seconds: float | None) -> bytes:
        """Wait until this comes; what came before it. Raises TimeoutError, and BochsEnd when Bochs ends instead."""
        if self._console.flag_eof:
            raise self._gone()
        try:
            await self._console.expect_list([pattern], timeout=seconds, async_=True)
        except EOF:
            raise self._gone() from None
        except TIMEOUT:
            raise TimeoutError from None
        before: Any = self._console.before
        return bytes(before)

    def _gone(self) -> BochsEnd:
        return BochsEnd("Bochs ended while its debugger was asked", evidence=self._tail())

    def _mute(self) -> EmulatorError:
        return EmulatorError("Bochs' debugger does not answer", evidence=self._tail())

    def _tail(self) -> str:
        return self._said[-2000:].decode(errors="replace")


def _guests(said: bytes) -> bytes:
    """What a guest said of what the console has from where it started to where it stopped."""
    return said[:-WINDOW] + STOPPED.sub(b"", said[-WINDOW:])
