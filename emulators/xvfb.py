"""A virtual X display for one Bochs: its `x` display library draws there, and the picture is taken from there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from emulators.process import Process, running
from emulators.target import EmulatorError

WIDTH, HEIGHT = 1024, 850
START_SECONDS = 15.0
# Loading OpenGL costs as much as all else of a start, and making ready for another client once Bochs is gone half of that.
LEAN = ("-extension", "GLX", "-noreset")

# Bochs' window lies at 0,0 of the display: a border, a header bar, the VGA picture, a status bar.
BORDER = 4
HEADER = 32
STATUS_BAR = 18


class Display(NamedTuple):
    """A display by its name (":7"), and the server that draws it."""

    name: str
    server: Process


@contextlib.asynccontextmanager
async def xvfb(folder: Path) -> AsyncIterator[Display]:
    """Run a display server while the context lasts. It finds a free number for its display."""
    reading, writing = os.pipe()
    argv = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp", *LEAN]
    log = folder / "xvfb.log"
    with log.open("wb") as output, os.fdopen(reading, "rb") as answer, contextlib.ExitStack() as ours:
        ours.callback(os.close, writing)
        server = running(argv, output=output, cwd=folder, pass_fds=[writing])
        async with contextlib.AsyncExitStack() as stack:
            process = await stack.enter_async_context(server)
            ours.close()  # so that a server that dies shows as end of file
            try:
                number = await asyncio.wait_for(asyncio.to_thread(answer.readline), START_SECONDS)
            except TimeoutError:
                number = b""
            if not number.strip().isdigit():
                raise EmulatorError(
                    "Xvfb did not start",
                    hint="apt-get install xvfb; is /tmp/.X11-unix writable?",
                    evidence=log.read_text(errors="replace")[-2000:],
                )
            yield Display(f":{int(number)}", process)


def grab(display: str) -> bytes:
    """The VGA picture that Bochs shows on `display`, as PNG. Blocks for some tens of milliseconds: call it in a thread."""
    from PIL import ImageGrab

    whole = ImageGrab.grab(xdisplay=display).convert("RGB")
    drawn = whole.getbbox() or (0, 0, 0, 0)
    # The header bar is as wide as the picture, the status bar ends the window.
    width = max(drawn[2] - BORDER, 1)
    height = max(drawn[3] - BORDER - HEADER - STATUS_BAR, 1)
    picture = whole.crop((BORDER, BORDER + HEADER, BORDER + width, BORDER + HEADER + height))
    png = io.BytesIO()
    picture.save(png, "PNG", compress_level=1)  # a text screen is small anyway
    return png.getvalue()
