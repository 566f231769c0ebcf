"""Saved states of Bochs 3: made through the window of its X display, the only way there is, and changed for each restore.

A state is a folder: `config` (a bochsrc), a text file for each device, and `memory.ram`, where each byte of the guest's memory
lies at its physical address. Blocks that the guest never touched are holes in it and are marked so in `memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from emulators.bochs_machine import BochsMachine
from emulators.target import EmulatorError

BLOCK = 128 << 10  # bytes; Bochs allocates memory to the guest in blocks of this size
MEMORY, RAM, CONFIG = "memory", "memory.ram", "config"
# Bochs registers the timers of its devices in the order in which their plugins are loaded, and restores them by number. In
# a configuration that it wrote itself the order is another one than at the start, and timers would go to other devices.
PLUGINS = "plugin_ctrl: unmapped=true, biosdev=true, serial=true, usb_uhci=true"
SUSPEND_BUTTON = ("674", "22")  # in the header bar of a window 720 pixels wide
DIALOG_SECONDS, SAVE_SECONDS = 20.0, 60.0
ASK, WAIT, SAVED, FAILED = "Save Bochs state to folder", "Please wait", "WARNING", "ERROR"  # titles of its windows
DEFAULT_ANSWER = "none"
PIPE_BYTES = 1 << 20  # the most that the kernel gives everybody
FULL_SECONDS = 0.0005  # less than it takes Bochs to read so much


async def save(machine: BochsMachine, name: str) -> None:
    """Save a running machine's state into the empty folder `name` in the folder that Bochs runs in. It cannot run on after this.

    Raises EmulatorError when its dialogs do not come, or say that it failed.
    """
    window = _Windows(machine)
    await window.xdotool("mousemove", *SUSPEND_BUTTON, "click", "1")
    asking = await window.appears(ASK)
    # There is no window manager: the keyboard is where the mouse is.
    await window.xdotool("mousemove", "--window", asking, "10", "10")
    await window.xdotool("key", *["BackSpace"] * len(DEFAULT_ANSWER))
    await window.xdotool("type", name)
    await window.xdotool("key", "Return")
    waiting = await window.appears(WAIT)
    # This box waits for being drawn twice.
    await window.xdotool("windowunmap", "--sync", waiting, "windowmap", waiting)
    await window.appears(f"{SAVED}|{FAILED}", SAVE_SECONDS)
    if await window.titled(FAILED):
        raise EmulatorError("Bochs could not save its state", hint=f"is there room in {machine.log.parent}?")


class _Windows:
    """Bochs' windows on its display."""

    def __init__(self, machine: BochsMachine) -> None:
        if machine.display is None:
            raise EmulatorError("a Bochs without a display cannot be told to save its state")
        self._machine = machine
        self._display = machine.display.name

    async def xdotool(self, *arguments: str) -> str:
        """Run xdotool; what it printed. A window that is not there is no error."""
        argv, environment = ["xdotool", *arguments], {**os.environ, "DISPLAY": self._display}
        try:
            done = await asyncio.to_thread(
                subprocess.run, argv, env=environment, capture_output=True, text=True, timeout=DIALOG_SECONDS
            )
        except OSError as error:
            raise EmulatorError(f"xdotool: {error.strerror}", hint="apt-get install xdotool") from error
        except subprocess.TimeoutExpired as error:
            raise EmulatorError("Bochs' window does not answer") from error
        return done.stdout

    async def titled(self, title: str) -> str:
        """The window of such a title (a regular expression), or ""."""
        found = (await self.xdotool("search", "--onlyvisible", "--name", f"^({title})")).split()
        return found[0] if found else ""

    async def appears(self, title: str, seconds: float = DIALOG_SECONDS) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._machine.process.returncode is None:
            if window := await self.titled(title):
                return window
            await asyncio.sleep(0.05)
        raise EmulatorError(f"Bochs' window {title!r} did not come", evidence=self._machine.console.read_text(errors="replace"))


def with_lines(config: str, lines: Sequence[str]) -> str:
    """A configuration in which these lines stand in place of those of the same keys."""
    ours = {line.partition(":")[0]: line for line in (PLUGINS, *lines)}
    return "".join(f"{ours.get(line.partition(':')[0], line)}\n" for line in config.splitlines())


def with_blocks(memory: str, address: int, length: int) -> str:
    """The memory's state with the blocks that hold these physical addresses marked as touched, so that they are restored.

    Raises EmulatorError for a state that has another form.
    """
    used = re.search(r"^( *used_blocks = )(\d+)$", memory, re.MULTILINE)
    if used is None:
        raise EmulatorError("Bochs' saved state is in a form that is not known here")
    number = int(used[2])
    for block in range(address // BLOCK, -(-(address + length) // BLOCK)):
        memory, untouched = re.subn(rf"^( *blk{block} = )-1$", rf"\g<1>{number}", memory, flags=re.MULTILINE)
        number += untouched
    return memory.replace(used[0], f"{used[1]}{number}", 1)


def without_blocks(memory: str, address: int, length: int) -> str:
    """The memory's state with all blocks that lie within these physical addresses forgotten: nobody reads them again.

    The numbers of the blocks are left as they are.
    """
    within = range(-(-address // BLOCK), (address + length) // BLOCK)
    return re.sub(
        r"^( *blk(\d+) = )\d+$",
        lambda line: f"{line[1]}-1" if int(line[2]) in within else line[0],
        memory,
        flags=re.MULTILINE,
    )


def feed(pipe: Path, ram: Path, address: int, content: bytes, stop: threading.Event) -> None:
    """Give a Bochs that restores its memory through a named pipe, with `content` in place of what lies at this physical address.

    So nothing is copied on a disk, and pages that are only holes are never made. Blocks until Bochs has read it all, has gone,
    or `stop` is set before it came.
    """
    while True:
        try:
            to = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or stop.is_set():  # ENXIO: nobody reads yet
                return
            time.sleep(0.005)
    try:
        with contextlib.suppress(OSError):  # it only saves changing between the two so often
            fcntl.fcntl(to, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with ram.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _send(file.fileno(), 0, address, to)
            _send_bytes(content, to)
            _send(file.fileno(), address + len(content), size, to)
    except BrokenPipeError:
        pass  # it has gone; that is told elsewhere
    finally:
        os.close(to)


@functools.cache
def _zeros() -> int:
    """A file in memory of that many zeros, whose pages go through a pipe without being copied."""
    zeros = os.memfd_create("difftest-zeros")
    os.write(zeros, bytes(PIPE_BYTES))
    return zeros


def _send(source: int, start: int, end: int, to: int) -> None:
    """Send this part of a file, zeros behind its end included."""
    zeros = _zeros()
    while start < end:
        try:
            data = min(os.lseek(source, start, os.SEEK_DATA), end)
        except OSError:  # ENXIO: there are no more data
            data = end
        while start < data:
            start += _splice(zeros, 0, min(data - start, PIPE_BYTES), to)
        hole = min(os.lseek(source, start, os.SEEK_HOLE), end) if start < end else end
        while start < hole:
            start += _splice(source, start, hole - start, to)


def _splice(source: int, start: int, count: int, to: int) -> int:
    """Send some of these bytes; how many. A reader that takes a page at a time is not followed page by page: that would cost
    more than all else. It is let read for a while when the pipe is full.
    """
    while True:
        try:
            return os.splice(source, to, count, offset_src=start, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            time.sleep(FULL_SECONDS)


def _send_bytes(data: bytes, to: int) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(to, view) :]
        except BlockingIOError:
            time.sleep(FULL_SECONDS)
