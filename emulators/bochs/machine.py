"""One running Bochs: its process, its display, its debugger console. Boots cases directly, and hosts the KVM appliance.

Its debugger starts with a command file that says `c` (continue), and SIGINT brings the prompt back. Ending it with
`quit` is the one way that leaves no lock file next to the disk image.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import signal
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from emulators.bochs.program import BochsProgram
from emulators.bochs.xvfb import Display, grab, xvfb
from emulators.host.errors import EmulatorError
from emulators.host.process import Process, running
from emulators.observation import TEXT_BYTES
from emulators.ram_log import HEADER, RamLog
from emulators.text_screen import TEXT_ADDRESS

POLL = 0.02  # seconds between looks at a file that Bochs writes
# The console has what the guest writes to port 0xE9 between the debugger's own words: behind the place where it starts,
# and before the place where it stops, or where Bochs gives up.
STARTED = re.compile(rb"^Next at t=0\n\(0\) [^\n]*\n", re.MULTILINE)
STOPPED = re.compile(
    rb"(?:\(\d+\)\.\[\d+\] [^\n]*\n)?(?:Next at t=\d+\n(?:\(\d+\) [^\n]*\n)+)?\Z"
    rb"|={70,}\nBochs is exiting with the following message:\n(?!.*Bochs is exiting).*\Z",
    re.DOTALL,
)
STOPPED_BYTES = 4096
STOP_SECONDS = 10.0
GO_ON = b"c\n"


class BochsMachine:
    """A Bochs that runs. Made by `bochs_machine()`."""

    def __init__(self, process: Process, display: Display | None, folder: Path) -> None:
        self.process = process
        self.log = folder / "bochs.log"
        self.console = folder / "console.log"
        self.display = display
        self._seen = 0  # bytes of the console that belong to answered commands
        self._prompts = 0
        self._echoes = False  # whether the console shows commands, too: readline does it
        self._ran: list[
            tuple[int, int]
        ] = []  # the parts of the console from where the guest started to where it stopped
        self._runs_from: int | None = (
            0  # where the part begins that grows while the guest runs; None while it is stopped
        )

    async def stop(self) -> None:
        """Interrupt the simulation: the debugger's prompt is there afterwards and the picture is up to date."""
        self.process.send_signal(signal.SIGINT)
        await self._answer()

    async def resume(self) -> None:
        """Let the simulation go on after it stopped by itself, as the debugger does at a triple fault."""
        await self._answer()
        self.process.write(GO_ON)

    async def command(self, text: str) -> str:
        """One debugger command's output. Only while stopped. Raises EmulatorError when no answer comes."""
        self.process.write(text.encode() + b"\n")
        answer = await self._answer()
        self._echoes = answer.startswith(text)
        return answer

    async def physical(self, address: int, length: int) -> bytes:
        """Bytes of guest-physical memory (VGA memory included). Only while stopped."""
        count = -(-length // 8)  # by eight bytes, each printed as one little-endian number: a quarter of the words
        answer = await self.command(f"xp /{count}gx {address:#x}")
        values = [int(value, 16) for value in re.findall(r"\t0x([0-9a-f]{1,16})\b", answer)]
        if len(values) != count:
            raise EmulatorError(
                f"Bochs gave {len(values)} of {count} words of memory at {address:#x}", evidence=answer[-500:]
            )
        return struct.pack(f"<{count}Q", *values)[:length]

    async def ram_log(self, log: RamLog) -> bytes:
        """The lines that the guest left in its RAM. Only while stopped. Raises EmulatorError when they cannot be
        read.
        """
        length = log.length(await self.physical(log.address, HEADER.size))
        return await self.physical(log.lines, length) if length else b""

    async def registers(self) -> dict[str, str]:
        """General and control registers by lower-case name. Only while stopped."""
        text = await self.command("r") + await self.command("creg")
        found = {name: high + low for name, high, low in re.findall(r"(r\w{1,2}) ?: (\w{8})_(\w{8})", text)}
        found |= {
            name.lower(): value for name, value in re.findall(r"^(CR[0348]|EFER)[=:] ?0x(\w+)", text, re.MULTILINE)
        }
        for name, pattern in {"rflags": r"eflags:? 0x(\w+)", "cr2": r"CR2=page fault laddr=0x(\w+)"}.items():
            if match := re.search(pattern, text):
                found[name] = match.group(1)
        return {name: f"{int(value, 16):#x}" for name, value in found.items()}

    async def picture(self) -> bytes:
        """The VGA screen as PNG. Raises EmulatorError when this Bochs was started without a display."""
        if self.display is None:
            raise EmulatorError("this Bochs has no display to take a picture of")
        return await asyncio.to_thread(grab, self.display.name)

    def debug_port(self) -> bytes:
        """What the guest has written to port 0xE9, if the configuration has `port_e9_hack`."""
        said = self.console.read_bytes()
        start = STARTED.search(said)
        if start is None:
            return b""
        parts = [*self._ran, *([] if self._runs_from is None else [(self._runs_from, len(said))])]
        return b"".join(_guests(said[max(begin, start.end()) : end]) for begin, end in parts)

    async def glance(self) -> bytes:
        """See emulators.text_screen.Screen."""
        return hashlib.sha256(await self.picture()).digest()

    async def text(self) -> bytes:
        """See emulators.text_screen.Screen. The simulation is stopped meanwhile, and goes on also when the caller gives
        up.
        """
        reading = asyncio.ensure_future(self._text())
        try:
            return await asyncio.shield(reading)
        finally:
            await asyncio.wait([reading])

    async def text_memory(self) -> bytes:
        """TEXT_BYTES bytes. Only while stopped."""
        return await self.physical(TEXT_ADDRESS, TEXT_BYTES)

    async def quit(self) -> None:
        """Leave the debugger, and with it Bochs. Only while stopped."""
        self.process.write(b"quit\n")
        await self.process.wait_for(STOP_SECONDS)

    async def _text(self) -> bytes:
        try:
            await self.stop()
            memory = await self.text_memory()
        except EmulatorError:
            if self.process.returncode is None:
                raise
            return b""  # it switched itself off meanwhile, which is told elsewhere
        self.process.write(GO_ON)
        self._runs_from = self._seen + (len(GO_ON) if self._echoes else 0)
        return memory

    async def _answer(self) -> str:
        """Wait for the next prompt; returns what was printed before it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while self.process.returncode is None:
                    fresh = self.console.read_bytes()[self._seen :]
                    prompt = b"<bochs:%d> " % (
                        self._prompts + 1
                    )  # numbered: a guest's words are not soon taken for one
                    if (at := fresh.find(prompt)) >= 0:
                        if self._runs_from is not None:
                            self._ran.append((self._runs_from, self._seen + at))
                            self._runs_from = None
                        self._prompts += 1
                        self._seen += at + len(prompt)
                        return fresh[:at].decode(errors="replace")
                    await asyncio.sleep(POLL)
        tail = self.console.read_bytes()[-2000:].decode(errors="replace")
        raise EmulatorError("Bochs' debugger does not answer", evidence=tail)


def _guests(said: bytes) -> bytes:
    """What a guest said of what the console has from where it started to where it stopped."""
    return said[:-STOPPED_BYTES] + STOPPED.sub(b"", said[-STOPPED_BYTES:])


@contextlib.asynccontextmanager
async def bochs_machine(
    program: BochsProgram, config: list[str], folder: Path, *, display: Display | None = None, debugged: bool
) -> AsyncIterator[BochsMachine]:
    """Run Bochs with these lines of configuration (display library, log and console are added here) while the context
    lasts.

    `display` is where its window can be looked at, if anywhere, `debugged` whether the debugger's prompt can be used.
    """
    surroundings = _surroundings(program, folder, display)
    lines = bochsrc(surroundings, config, program.bios, program.vga_bios, warns=program.warns)
    (folder / "bochsrc").write_text("\n".join(lines) + "\n")
    argv = ["-f", str(folder / "bochsrc")]
    if program.debugger is not None and (debugged or not program.debugger):  # where it need not run it only costs time
        (folder / "debugger.rc").write_text("c\n")
        argv += [*program.debugger, "-rc", str(folder / "debugger.rc")]
    async with _started(program, argv, folder, display, {}) as machine:
        yield machine


@contextlib.asynccontextmanager
async def restored_bochs(
    program: BochsProgram, state: Path, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[BochsMachine]:
    """Run Bochs from a saved state, a folder that is this run's own (see emulators.bochs.saved_state), while the
    context lasts.

    A state that cannot be read is not restored: the machine then boots.
    """
    async with _started(program, ["-r", str(state)], folder, None, environment) as machine:
        yield machine


def restored_lines(program: BochsProgram, folder: Path) -> list[str]:
    """What must be said anew in a saved configuration for a run in this folder."""
    return _surroundings(program, folder, None)


def _surroundings(program: BochsProgram, folder: Path, display: Display | None) -> list[str]:
    return [f"display_library: {'x' if display else program.unseen}", f"log: {folder / 'bochs.log'}"]


@contextlib.asynccontextmanager
async def _started(
    program: BochsProgram,
    arguments: Sequence[str],
    folder: Path,
    display: Display | None,
    environment: Mapping[str, str],
) -> AsyncIterator[BochsMachine]:
    async with contextlib.AsyncExitStack() as stack:
        if display is None and program.unseen == "x":  # it cannot draw nowhere
            display = await stack.enter_async_context(xvfb())
        output = stack.enter_context((folder / "console.log").open("wb"))
        drawing = {"DISPLAY": display.name} if display else {"SDL_VIDEODRIVER": "dummy"}
        env = {**program.environment, **drawing, **environment}
        argv = [*program.argv, "-q", *arguments]
        bochs = running(argv, output=output, cwd=folder, stdin=True, env=env, end_with=[signal.SIGTERM])
        yield BochsMachine(await stack.enter_async_context(bochs), display, folder)


def bochsrc(
    surroundings: Sequence[str], config: Sequence[str], bios: Path | str, vga_bios: Path | str, *, warns: bool
) -> list[str]:
    """A whole configuration: display and log, what every boot shares, then these lines."""
    return [
        *surroundings,
        # A panic is only logged, and the log is watched: the other ways to take one end in a dialog that nobody
        # answers.
        "panic: action=report",
        "error: action=report",
        "info: action=report",
        "debug: action=ignore",
        *(["warn: action=report"] if warns else []),
        f"romimage: file={bios}, options=fastboot",
        f"vgaromimage: file={vga_bios}",
        "plugin_ctrl: speaker=0, gameport=0, parallel=0, iodebug=0",
        "mouse: enabled=0",
        # Updates in emulated time: in real time (the default) a case may be over before its first picture is drawn.
        "vga: extension=vbe, update_freq=2, realtime=0",
        *config,
    ]
