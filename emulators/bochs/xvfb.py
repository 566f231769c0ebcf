"""Virtual X displays: the `x` display library of a Bochs draws on one, and the picture is taken from there.

A display takes only clients that have its cookie, so that no other user of this host draws on it or presses Bochs'
buttons.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.limits import AnswerTimeout, in_time
from emulators.host.picture import png
from emulators.host.process import Process, running
from emulators.host.scratch import scratch

WIDTH, HEIGHT = 1024, 850
# Loading OpenGL costs as much as all else of a start, and making ready for another client once Bochs is gone half of
# that.
ANY_FAMILY = b"\xff\xff"
LEAN = ("-extension", "GLX", "-noreset")

# Bochs' window lies at 0,0 of the display: a border, a header bar, the VGA picture, a status bar.
BORDER = 4
HEADER = 32
STATUS_BAR = 18


class Display:
    """A display by its name (":7"), and the server that draws it."""

    def __init__(self, name: str, server: Process) -> None:
        self.name = name
        self.server = server
        self._told = 0.0

    def cpu_seconds(self) -> float:
        """What the server has used since this was asked last."""
        before, self._told = self._told, self.server.cpu_seconds()
        return self._told - before


class Displays:
    """Lends a display to one Bochs at a time. While it is `reused()`, what comes back is lent again: to start a server
    costs a tenth of what the boot of a small image costs.
    """

    def __init__(self) -> None:
        self._idle: list[Display] = []
        self._started: contextlib.AsyncExitStack | None = None

    @contextlib.asynccontextmanager
    async def reused(self) -> AsyncIterator[None]:
        """Servers that were started meanwhile end with the context, of nested ones with the outermost."""
        if self._started is not None:
            yield
            return
        async with contextlib.AsyncExitStack() as self._started:
            try:
                yield
            finally:
                self._started = None
                self._idle.clear()

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[Display]:
        """A display on which nothing else is drawn. Raises EmulatorError when no server can be started."""
        if self._started is None:
            async with xvfb() as display:
                yield display
            return
        while self._idle and (display := self._idle.pop()):
            if display.server.returncode is None:
                break
        else:
            display = await self._started.enter_async_context(xvfb())
        yield display
        self._idle.append(display)  # not where something broke


class _Cookie:
    """The cookie of all displays of this process, in a file that its children and the X libraries in it find by their
    environment. It is there while one of the displays is.
    """

    def __init__(self) -> None:
        self._users = 0
        self._made = contextlib.ExitStack()
        self._file = Path()

    @contextlib.contextmanager
    def shared(self) -> Iterator[Path]:
        """The file."""
        if self._users == 0:
            self._file = self._make()
        self._users += 1
        try:
            yield self._file
        finally:
            self._users -= 1
            if self._users == 0:
                self._made.close()

    def _make(self) -> Path:
        file = self._made.enter_context(scratch("cookie")) / "authority"
        # Of any host and display: an entry of Xauthority(5), each part after its length.
        parts = (b"", b"", b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16))
        file.write_bytes(ANY_FAMILY + b"".join(struct.pack(">H", len(part)) + part for part in parts))
        before = os.environ.get("XAUTHORITY")
        os.environ["XAUTHORITY"] = str(file)
        self._made.callback(_restore, before)
        return file


def _restore(authority: str | None) -> None:
    if authority is None:
        os.environ.pop("XAUTHORITY", None)
    else:
        os.environ["XAUTHORITY"] = authority


_cookie = _Cookie()


@contextlib.asynccontextmanager
async def xvfb() -> AsyncIterator[Display]:
    """Run a display server while the context lasts. It finds a free number for its display. Raises EmulatorError."""
    async with contextlib.AsyncExitStack() as stack:
        authority = stack.enter_context(_cookie.shared())
        folder = stack.enter_context(scratch("display"))
        log = folder / "xvfb.log"
        reading, writing = os.pipe()
        with log.open("wb") as output, os.fdopen(reading, "rb") as answer, contextlib.ExitStack() as ours:
            ours.callback(os.close, writing)
            argv = [
                "Xvfb",
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                f"{WIDTH}x{HEIGHT}x24",
                "-nolisten",
                "tcp",
                "-auth",
                str(authority),
                *LEAN,
            ]
            server = await stack.enter_async_context(running(argv, output=output, cwd=folder, pass_fds=[writing]))
            ours.close()  # so that a server that dies shows as end of file
            try:
                number = await in_time(asyncio.to_thread(answer.readline), limits.X_START, "Xvfb says nothing")
            except AnswerTimeout:
                number = b""
                await server.end(signal.SIGTERM)  # which also ends the thread that reads
        if not number.strip().isdigit():
            raise EmulatorError(
                "Xvfb did not start",
                hint="apt-get install xvfb; is /tmp/.X11-unix writable?",
                evidence=log.read_text(errors="replace")[-2000:],
            )
        yield Display(f":{int(number)}", server)


async def picture(display: Display) -> bytes:
    """The VGA picture that Bochs shows on a display, as PNG. Raises EmulatorError when its server does not give it."""
    try:
        taking = asyncio.to_thread(_grab, display.name)
        return await in_time(taking, limits.X_PICTURE, "the X server gives no picture", end=display.server.wait)
    except AnswerTimeout:
        await display.server.end(signal.SIGTERM)  # which also ends the thread that asks it
        raise
    except OSError as error:
        raise EmulatorError(f"no picture of the screen can be taken: {error}") from error


def _grab(display: str) -> bytes:
    from PIL import ImageGrab

    whole = ImageGrab.grab(xdisplay=display).convert("RGB")
    drawn = whole.getbbox() or (0, 0, 0, 0)
    # The header bar is as wide as the picture, the status bar ends the window.
    width = max(drawn[2] - BORDER, 1)
    height = max(drawn[3] - BORDER - HEADER - STATUS_BAR, 1)
    return png(whole.crop((BORDER, BORDER + HEADER, BORDER + width, BORDER + HEADER + height)))
