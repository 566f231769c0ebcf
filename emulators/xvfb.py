"""A virtual X display for one Bochs: its `x` display library draws there, and the picture is taken from there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

from PIL import ImageGrab

from emulators.process import running
from emulators.target import EmulatorError

WIDTH, HEIGHT = 1024, 850
START_SECONDS = 15.0

# Bochs' window lies at 0,0 of the display: a header bar, the VGA picture, a status bar. Text mode's picture is 720x400.
HEADER = 32
STATUS_BAR = 18
TEXT_WIDTH, TEXT_HEIGHT = 720, 400


@contextlib.asynccontextmanager
async def xvfb(folder: Path) -> AsyncIterator[str]:
    """Run a display server while the context lasts; yields the display's name (":7"). The server finds a free number."""
    reading, writing = os.pipe()
    argv = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp"]
    log = folder / "xvfb.log"
    with log.open("wb") as output, os.fdopen(reading, "rb") as answer, contextlib.ExitStack() as ours:
        ours.callback(os.close, writing)
        server = running(argv, output=output, cwd=folder, pass_fds=[writing])
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(server)
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
            yield f":{int(number)}"


def grab(display: str) -> bytes:
    """The VGA picture that Bochs shows on `display`, as PNG. Blocks for some tens of milliseconds: call it in a thread."""
    whole = ImageGrab.grab(xdisplay=display).convert("RGB")
    drawn = whole.getbbox() or (0, 0, 0, 0)
    if drawn[2] <= TEXT_WIDTH and drawn[3] <= HEADER + TEXT_HEIGHT + STATUS_BAR:
        picture = whole.crop((0, HEADER, TEXT_WIDTH, HEADER + TEXT_HEIGHT))
    else:  # a graphics mode larger than the text screen
        picture = whole.crop((0, HEADER, drawn[2], max(HEADER + 1, drawn[3] - STATUS_BAR)))
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()
