"""One running Bochs: its process, its display, its debugger. Boots cases directly, and hosts the KVM appliance.

Its debugger starts with a command file that says `c` (continue). Ending it with `quit` is the one way that leaves no
lock file next to the disk image.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from emulators.bochs.debugger import BochsEnd, Debugger
from emulators.bochs.program import BochsProgram
from emulators.bochs.xvfb import Display, picture, xvfb
from emulators.host.errors import EmulatorError
from emulators.host.files import ends, read_log
from emulators.host.memory import PAGE, ram_address_by, ram_digest
from emulators.host.process import Process, finished, running
from emulators.observation import TEXT_BYTES
from emulators.ram_log import HEADER, RamLog
from emulators.text_screen import TEXT_ADDRESS
from emulators.watch import GuestState

VM_EXIT = re.compile(rb"^\(\d+\) Caught VMEXIT breakpoint$", re.MULTILINE)
INTERRUPTS = 1 << 9  # RFLAGS.IF
CONSOLE_TAIL = 4096  # bytes of the console in which the reason of a stop is looked for
HLT = b"\xf4"
POLL = 0.02  # seconds between looks at a file that Bochs writes


class BochsMachine:
    """A Bochs that runs. Made by `bochs_machine()`."""

    def __init__(self, process: Process, display: Display | None, folder: Path, debugger: Debugger | None) -> None:
        self.process = process
        self.log = folder / "bochs.log"
        self.display = display
        self.vmx = False  # a VM exit was seen
        self.watched = 0  # CPUs that stop at one
        self._ram: int | None = None  # where the guest's RAM is in the process, once that was asked
        self._debugger = debugger
        self._console = folder / "console.log"

    @property
    def debugger(self) -> Debugger:
        """Raises EmulatorError when this Bochs was started without."""
        if self._debugger is None:
            raise EmulatorError("this Bochs runs without its debugger")
        return self._debugger

    def console(self) -> bytes:
        """What Bochs has said on its outputs."""
        return ends(self._debugger.said()) if self._debugger else read_log(self._console)

    async def physical(self, address: int, length: int) -> bytes:
        """Bytes of guest-physical memory (VGA memory included). Only while stopped."""
        count = -(-length // 8)  # by eight bytes, each printed as one little-endian number: a quarter of the words
        answer = await self.debugger.command(f"xp /{count}gx {address:#x}")
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
        length = await self._logged(log)
        return await self.physical(log.lines, length) if length else b""

    async def logged(self, log: RamLog) -> int:
        """How many bytes of lines the guest has left in its RAM by now. The simulation stands still meanwhile.

        Raises EmulatorError when they cannot be counted. It goes on also when the caller gives up.
        """

        async def counted() -> int:
            async with self.debugger.paused():
                return await self._logged(log)

        return await finished(counted())

    async def _logged(self, log: RamLog) -> int:
        return log.length(await self.physical(log.address, HEADER.size))

    async def registers(self) -> dict[str, str]:
        """General and control registers by lower-case name. Only while stopped."""
        text = await self.debugger.command("r") + await self.debugger.command("creg")
        found = {name: high + low for name, high, low in re.findall(r"(r\w{1,2}) ?: (\w{8})_(\w{8})", text)}
        found |= {
            name.lower(): value for name, value in re.findall(r"^(CR[0348]|EFER)[=:] ?0x(\w+)", text, re.MULTILINE)
        }
        for name, pattern in {"rflags": r"eflags:? 0x(\w+)", "cr2": r"CR2=page fault laddr=0x(\w+)"}.items():
            if match := re.search(pattern, text):
                found[name] = match.group(1)
        return {name: f"{int(value, 16):#x}" for name, value in found.items()}

    async def instructions(self) -> float:
        """How many were emulated since power-on, the time that a CPU was in HLT included. Only while stopped."""
        answer = await self.debugger.command("ptime")
        found = re.search(r"^ptime: (\d{1,18})$", answer, re.MULTILINE)
        if found is None:
            raise EmulatorError("Bochs does not say how far it is", evidence=answer[-500:])
        return float(found[1])

    async def picture(self) -> bytes:
        """The VGA screen as PNG. Raises EmulatorError when this Bochs was started without a display."""
        if self.display is None:
            raise EmulatorError("this Bochs has no display to take a picture of")
        return await picture(self.display)

    async def glance(self) -> bytes:
        """See emulators.text_screen.Screen."""
        return hashlib.sha256(await self.picture()).digest()

    async def text(self) -> bytes:
        """See emulators.text_screen.Screen. The simulation stands still meanwhile.

        It goes on also when the caller gives up.
        """
        return await finished(self._text())

    async def go_on(self) -> None:
        """Let the simulation go on if it has stopped by itself. It does also when the caller gives up."""
        await finished(self._go_on())

    async def text_memory(self) -> bytes:
        """TEXT_BYTES bytes. Only while stopped."""
        return await self.physical(TEXT_ADDRESS, TEXT_BYTES)

    async def _text(self) -> bytes:
        try:
            async with self.debugger.paused():
                return await self.text_memory()
        except BochsEnd:
            return b""  # it switched itself off meanwhile, which is reported elsewhere

    async def state(self, ram_bytes: int) -> GuestState:
        """Of a guest with so much RAM; see emulators.watch.Watch.progress. The simulation stands still meanwhile."""
        return await finished(self._state(ram_bytes))

    async def _state(self, ram_bytes: int) -> GuestState:
        async with self.debugger.paused():
            places = self.debugger.places
            before = [await self.physical(place - 1, 1) for place in places if place]
            pid = self.process.pid
            if self._ram is None:
                first_page = await self.physical(0, PAGE)
                self._ram = await asyncio.to_thread(ram_address_by, pid, ram_bytes, first_page)
            digest = await asyncio.to_thread(ram_digest, pid, self._ram, ram_bytes)
        return GuestState(digest, bool(before) and set(before) == {HLT})

    async def all_halted(self, cpus: int) -> bool:
        """Whether each CPU is in HLT with interrupts off. The simulation stands still meanwhile."""
        return await finished(self._all_halted(cpus))

    async def _all_halted(self, cpus: int) -> bool:
        async with self.debugger.paused():
            places = self.debugger.places
            if len(places) != cpus or not all(places):
                return False
            if {await self.physical(place - 1, 1) for place in places} != {HLT}:
                return False
            try:
                flags = [await self._flags(number) for number in range(cpus)]
            finally:
                await self.debugger.command("set $cpu = 0")
        return not any(value & INTERRUPTS for value in flags)

    async def _flags(self, cpu: int) -> int:
        """RFLAGS of a CPU, which the debugger stays with. Only while stopped."""
        await self.debugger.command(f"set $cpu = {cpu}")
        found = re.search(r"eflags:? 0x(\w+)", await self.debugger.command("r"))
        return int(found[1], 16) if found else INTERRUPTS

    async def _go_on(self) -> None:
        with contextlib.suppress(BochsEnd):
            async with self.debugger.paused():
                if self.watched and not self.vmx and VM_EXIT.search(self.debugger.said()[-CONSOLE_TAIL:]):
                    self.vmx = True
                    for command in stops_at_vm_exits(self.watched):
                        await self.debugger.command(command)


def stops_at_vm_exits(cpus: int) -> list[str]:
    """Commands of the debugger that switch on, or off, that so many CPUs stop at a VM exit. They end with the first
    CPU, which the debugger is to stay with.
    """
    return [command for number in reversed(range(cpus)) for command in (f"set $cpu = {number}", "vmexitbp")]


@contextlib.asynccontextmanager
async def bochs_machine(
    program: BochsProgram,
    config: list[str],
    folder: Path,
    *,
    display: Display | None = None,
    debugged: bool,
    watched: int = 0,
    commands: Sequence[str] = (),
) -> AsyncIterator[BochsMachine]:
    """Run Bochs with these lines of configuration (display library, log and console are added here) while the context
    lasts.

    `display` is where its window can be looked at, if anywhere, `debugged` whether the debugger's prompt can be used.
    So many CPUs as `watched` stop at their first VM exit. `commands` are what the debugger does one after the other,
    in place of letting the simulation go on.
    """
    surroundings = _surroundings(program, folder, display)
    lines = bochsrc(surroundings, config, program.bios, program.vga_bios, warns=program.warns)
    (folder / "bochsrc").write_text("\n".join(lines) + "\n")
    argv = ["-f", str(folder / "bochsrc")]
    # Where the debugger need not run it only costs time.
    if program.debugger is not None and (debugged or commands or not program.debugger):
        (folder / "debugger.rc").write_text("\n".join([*stops_at_vm_exits(watched), *(commands or ["c"]), ""]))
        argv += [*program.debugger, "-rc", str(folder / "debugger.rc")]
    async with _started(program, argv, folder, display, {}, debugged=debugged) as machine:
        machine.watched = watched
        yield machine


@contextlib.asynccontextmanager
async def restored_bochs(
    program: BochsProgram, state: Path, folder: Path, environment: Mapping[str, str], display: Display | None = None
) -> AsyncIterator[BochsMachine]:
    """Run Bochs from a saved state, a folder that is this run's own (see emulators.bochs.saved_state), while the
    context lasts. `display` is where its window can be looked at, if anywhere.

    A state that cannot be read is not restored: the machine then boots.
    """
    async with _started(program, ["-r", str(state)], folder, display, environment, debugged=False) as machine:
        yield machine


def restored_lines(program: BochsProgram, folder: Path, display: Display | None = None) -> list[str]:
    """What a saved configuration must say again for a run in this folder."""
    return _surroundings(program, folder, display)


def _surroundings(program: BochsProgram, folder: Path, display: Display | None) -> list[str]:
    return [f"display_library: {'x' if display else program.unseen}", f"log: {folder / 'bochs.log'}"]


@contextlib.asynccontextmanager
async def _started(
    program: BochsProgram,
    arguments: Sequence[str],
    folder: Path,
    display: Display | None,
    environment: Mapping[str, str],
    *,
    debugged: bool,
) -> AsyncIterator[BochsMachine]:
    async with contextlib.AsyncExitStack() as stack:
        if display is None and program.unseen == "x":  # it cannot draw nowhere
            display = await stack.enter_async_context(xvfb())
        drawing = {"DISPLAY": display.name} if display else {"SDL_VIDEODRIVER": "dummy"}
        env = {**program.environment, **drawing, **environment}
        argv = [*program.argv, "-q", *arguments]
        if not debugged:
            output = stack.enter_context((folder / "console.log").open("wb"))
            process = await stack.enter_async_context(running(argv, output=output, cwd=folder, env=env))
            yield BochsMachine(process, display, folder, None)
            return
        debugger = Debugger()
        stack.push_async_callback(debugger.close)
        bochs = running(argv, output=debugger.output, stdin=debugger.input, cwd=folder, env=env)
        process = await stack.enter_async_context(bochs)
        debugger.serve(process)
        yield BochsMachine(process, display, folder, debugger)


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
