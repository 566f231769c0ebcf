"""Saved states of Bochs 3: made through the window of its X display, the only way there is, and changed for each
restore.

A state is a folder: `config` (a bochsrc), a text file for each device, and `memory.ram`, where each byte of the guest's
memory lies at its physical address. Blocks that the guest never touched are holes in it and are marked so in `memory`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from emulators.bochs.machine import BochsMachine
from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import EmulatorError
from emulators.host.files import cache_folder
from emulators.host.tools import ran

BLOCK = 128 << 10  # bytes; Bochs allocates memory to the guest in blocks of this size
MEMORY, RAM, CONFIG = "memory", "memory.ram", "config"
# Bochs registers the timers of its devices in the order in which their plugins are loaded, and restores them by number.
# In a configuration that it wrote itself the order is another one than at the start, and timers would go to other
# devices.
PLUGINS = "plugin_ctrl: unmapped=true, biosdev=true, serial=true, usb_uhci=true"
SUSPEND_BUTTON = ("674", "22")  # in the header bar of a window 720 pixels wide
ASK, WAIT, SAVED, FAILED = "Save Bochs state to folder", "Please wait", "WARNING", "ERROR"  # titles of its windows
DEFAULT_ANSWER = "none"


async def save(machine: BochsMachine, name: str) -> None:
    """Save a running machine's state into the empty folder `name` in the folder that Bochs runs in. It cannot run on
    after this.

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
    await window.appears(f"{SAVED}|{FAILED}", limits.BOCHS_SAVE)
    if await window.titled(FAILED):
        raise EmulatorError("Bochs could not save its state", hint=f"is there room in {machine.log.parent}?")


class _Windows:
    """Bochs' windows on its display."""

    def __init__(self, machine: BochsMachine) -> None:
        if machine.display is None:
            raise EmulatorError("a Bochs without a display cannot be made to save its state")
        self._machine = machine
        self._display = machine.display.name

    async def xdotool(self, *arguments: str) -> str:
        """Run xdotool; what it printed. A window that is not there is no error."""
        argv, environment = ["xdotool", *arguments], {"DISPLAY": self._display}
        hint = "apt-get install xdotool"
        done = await asyncio.to_thread(ran, argv, hint=hint, environment=environment, seconds=limits.BOCHS_DIALOG)
        return done.stdout.decode(errors="replace")

    async def titled(self, title: str) -> str:
        """The window of such a title (a regular expression), or ""."""
        found = (await self.xdotool("search", "--onlyvisible", "--name", f"^({title})")).split()
        return found[0] if found else ""

    async def appears(self, title: str, seconds: float = limits.BOCHS_DIALOG) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._machine.process.returncode is None:
            if window := await self.titled(title):
                return window
            await asyncio.sleep(0.05)
        raise EmulatorError(
            f"Bochs' window {title!r} did not come", evidence=self._machine.console().decode(errors="replace")
        )


def with_lines(config: str, lines: Sequence[str]) -> str:
    """A configuration with these lines in place of those of the same keys."""
    ours = {line.partition(":")[0]: line for line in (PLUGINS, *lines)}
    return "".join(f"{ours.get(line.partition(':')[0], line)}\n" for line in config.splitlines())


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


def asks_for_a_file(executable: str) -> bool:
    """Whether this Bochs restores its memory through a temporary file of the C library's: then it can be given another
    one, by memory.c.
    """
    path = Path(shutil.which(executable) or executable)

    def ask() -> Answer:
        return Answer("yes" if b"\0tmpfile64\0" in path.read_bytes() else "no", [path])

    try:
        return cached_answer(cache_folder(), f"{path}\0asks for a temporary file", ask) == "yes"
    except OSError:
        return False


def started_with(saved: Path, lines: Sequence[str], library: Path | None, state: Path) -> dict[str, str]:
    """Make a state in a new folder that is one in `saved`, started with these lines of configuration. Bochs writes to
    none of its files. Returns what must be in its environment: with the `library` of memory.c it does not copy the
    memory.
    """
    state.mkdir()
    for path in saved.iterdir():
        if path.name != CONFIG:
            (state / path.name).symlink_to(os.devnull if library and path.name == RAM else path)
    (state / CONFIG).write_text(with_lines((saved / CONFIG).read_text(), lines))
    return {"LD_PRELOAD": str(library), "DIFFTEST_MEMORY": str(saved / RAM)} if library else {}
