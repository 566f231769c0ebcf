"""Target `bochs`: the image under Bochs directly. The reference."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from emulators.bochs.com_port import com_port
from emulators.bochs.cpu_models import CpuModelChoice, check_cpu_model
from emulators.bochs.debugger import BochsEnd
from emulators.bochs.machine import POLL, BochsMachine, bochs_machine, bochsrc
from emulators.bochs.program import BochsProgram, installed, program
from emulators.bochs.uart_rom import ADDRESS as UART_ROM_ADDRESS
from emulators.bochs.uart_rom import uart_rom
from emulators.bochs.xvfb import Displays
from emulators.host import limits
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import cache_folder, private_copy, read_log
from emulators.host.limits import in_time
from emulators.host.paths import neutral_argv, neutral_log
from emulators.host.scratch import scratch
from emulators.observation import FLOPPIES, WHOLE_CPU, X_SERVER_CPU, Boot, Ending, Machine, Medium, Observation
from emulators.standalone import IMAGE, SECOND, STOCK_ROMS, StandaloneBoot, standalone_bochs, unseen
from emulators.target import NESTED, OTHER_CPU, Requirement, Session, Target, other_cpu
from emulators.watch import End, Watch, appended, discarding, first, never

DEFAULT_MODEL = "corei7_haswell_4770"
OTHER_MODEL = "broadwell_ult"
# Emulated instructions per emulated second. Low, so that a boot sector that prints a character by the BIOS between two
# serial bytes is not faster than 115200 baud (347 instructions a byte): Bochs loses bytes as a real UART does.
IPS = 4_000_000
# MSRs that CPUID promises and Bochs has not, with their values after reset: IA32_MCG_CAP (no banks), IA32_MCG_STATUS,
# IA32_MISC_ENABLE (fast strings), IA32_PERF_CAPABILITIES and the performance counters with their controls, which count
# nothing. In Bochs' form: address, type, and in two halves each the value, the reserved bits and the ignored ones.
MSRS = "msrs.def"
COUNTERS = [*range(0xC1, 0xC9), *range(0x186, 0x18E), *range(0x309, 0x30C), *range(0x38D, 0x391)]
PROMISED_MSRS = {0x179: 0, 0x17A: 0, 0x1A0: 1, 0x345: 0, **dict.fromkeys(COUNTERS, 0)}
MORE_MSRS = "".join(f"{address:#x} 0 0x0 {value:#x} 0x0 0x0 0x0 0x0\n" for address, value in PROMISED_MSRS.items())
LOOK = 2.0  # seconds of silence after which the screen is looked at, again and again
LOG_CAP = 64 << 20  # bytes of log after which a guest is taken to flood it
WORD = 0.2  # seconds that the log gets to say why the simulation has stopped by itself

# What Bochs' own log says of the end of a guest, in the order in which it is said. The BIOS calls it a panic when an
# image gives up and there is nothing else to boot, and its window when Bochs is ended: those are none of Bochs'.
LOG_ENDS = re.compile(
    rb"(?P<reset>bx_pc_system_c::Reset\(\w+\) called)"
    rb"|(?P<power_off>^\d+[a-z]\[[^\n]*(?:ACPI control: soft power off|[Ss]hutdown port: shutdown requested))"
    rb"|(?P<triple_fault>^\d+[a-z]\[[^\n]*exception with no resolution)"
    rb"|(?P<vmx_abort>^\d+[a-z]\[[^\n]*VMABORT)"
    rb"|(?P<panic>^\d+p\[(?!BIOS )(?![^\n]*User requested shutdown)[^\n]*)"
    rb"|(?P<halted>HLT instruction with IF=0)",
    re.MULTILINE,
)
STAMP = re.compile(r"^\d+p")  # the time and kind of a line of the log
MOST_PANICS = 20
LOST_SERIAL = re.compile(rb"com1: (?:write to tx hold register when not empty|transmit FIFO overflow)")


class Bochs(CpuModelChoice, Target):
    """The image under a Bochs of its own."""

    name = "bochs"
    configuration = "bochsrc"  # its file, where it is booted by hand
    implementation = "Bochs"
    displays = Displays()  # of all targets that draw: the CPU under KVM is booted when the reference is done

    def __init__(self, bochs: str | None = None, cpu_model: str | None = None, cache: Path | None = None) -> None:
        """`bochs` is a version or a path, see `emulators.bochs.program.program`; None is the distribution's."""
        self.wanted = bochs
        self.model = cpu_model or DEFAULT_MODEL
        self.chosen = cpu_model is not None  # by the user
        self._cache = cache or cache_folder()
        self._program: BochsProgram | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED

    def requirements(self) -> list[Requirement]:
        x_server = Requirement("Xvfb", shutil.which("Xvfb") is not None, "virtual X display", "apt-get install xvfb")
        return [*bochs_requirements(self.wanted, "x"), x_server]

    def program(self, progress: Progress) -> BochsProgram:
        """The Bochs that was asked for, fetched when need be. Raises EmulatorError."""
        if self._program is None:
            found = program(self.wanted, self._cache, progress)
            self._program = observable(found, "build it with --enable-debugger; as --host-bochs it needs none")
        return self._program

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        serial = f"{self.name}.serial"
        config = [*bochs_config(boot, self.cpu_model(boot), ""), f"com1: enabled=1, mode=file, dev={serial}"]
        lines = bochsrc(unseen(f"{self.name}.log"), config, *STOCK_ROMS, warns=False)
        files = {"uart.rom": uart_rom(), MSRS: MORE_MSRS.encode()}
        return standalone_bochs(lines, serial, files, self.configuration)

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, self.model)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        other = OTHER_MODEL if machine.cpu_models.get(self.name, self.model) != OTHER_MODEL else DEFAULT_MODEL
        return {OTHER_CPU: other_cpu(machine, self.name, other)}

    def prepare(self, progress: Progress) -> None:
        """Fetch the Bochs that was asked for, unless it is installed or in the cache, and look whether it has the CPU
        model.

        Raises EmulatorError.
        """
        bochs = self.program(progress)
        if self.model != DEFAULT_MODEL:
            check_cpu_model(bochs, self.model)

    def check(self, machine: Machine) -> None:
        if model := machine.cpu_models.get(self.name):
            check_cpu_model(self.program(lambda line: None), model)

    def identity(self) -> dict[str, str]:
        known = self._program or installed()
        return {**known.identity(), "cpu model": self.model, "com1": "set to 115200 8N1, FIFOs on, by an option ROM"}

    def sharing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """The X servers that Bochs draws on."""
        return self.displays.reused()

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        yield BochsSession(self, await asyncio.to_thread(self.program, progress), progress)


class BochsSession:
    """Boots images one after the other, each in a Bochs of its own."""

    def __init__(self, target: Bochs, program: BochsProgram, progress: Progress) -> None:
        self._target = target
        self._program = program
        self._progress = progress

    async def boot(self, boot: Boot) -> Observation:
        self._progress("booting under Bochs")
        with scratch("bochs") as folder:
            return await self._boot(boot, folder)

    async def _boot(self, boot: Boot, folder: Path) -> Observation:
        begun = time.monotonic()
        image = folder / IMAGE
        await asyncio.to_thread(private_copy, boot.image, image)
        if boot.second is not None:
            await asyncio.to_thread(private_copy, boot.second, folder / SECOND)
        (folder / "uart.rom").write_bytes(uart_rom())
        (folder / MSRS).write_text(MORE_MSRS)
        watch = Watch(boot)
        screen = memory = None
        registers: dict[str, str] = {}
        log_lines = b""
        instructions: float | None = None
        gone = False
        async with contextlib.AsyncExitStack() as stack:
            com1 = await stack.enter_async_context(com_port())
            of_boot = bochs_config(boot, self._target.cpu_model(boot), f"{folder}/")
            config = [*of_boot, com1.line(1), _informed(boot.machine.cpus)]
            display = await stack.enter_async_context(self._target.displays.lent())
            machine = await stack.enter_async_context(
                bochs_machine(self._program, config, folder, display=display, debugged=True)
            )
            commands = [neutral_argv(machine.process.argv)]
            try:
                starting = in_time(
                    com1.connected, limits.BOCHS_START, "Bochs does not start the guest", end=machine.process.wait
                )
                stream, writer = await starting
                stack.callback(writer.close)
                await machine.debugger.started()
                watch.go()
                if boot.watches_vmx:
                    await machine.watch_vmx(boot.machine.cpus)
                end = await first(
                    watch.serial.reader(stream),
                    watch.debug.reader(machine.debugger.guest),
                    _log_says(machine, boot, watch),
                    _exits(machine, boot.machine.cpus),
                    _goes_on(machine),
                    watch.looks(machine, LOOK),
                    watch.progress(functools.partial(machine.state, boot.machine.memory_mib << 20)),
                    watch.deadlines(),
                )
                if end[0] == Ending.TRIPLE_FAULT:
                    await machine.go_on()  # the CPU is down, but its UART still has bytes to send
                end = await watch.serial.drain(stream, end)
            except EmulatorError as error:
                end = Ending.CRASH, str(error)
            watch.mark("ended")
            cpu = machine.process.cpu_seconds()
            if (
                end[0] == Ending.POWER_OFF
            ):  # Bochs leaves at once, with the screen and the byte that its UART is sending
                await machine.process.wait_for(limits.BOCHS_STOP)
            if machine.process.returncode is None or end[0] not in (Ending.POWER_OFF, Ending.CRASH):
                try:
                    async with discarding(stream):
                        await machine.debugger.stop()
                    instructions = await machine.instructions()
                    registers = await machine.registers()
                    memory = await machine.text_memory()
                    log_lines = await machine.ram_log(boot.ram_log) if boot.ram_log else b""
                    screen = await machine.picture()
                    await machine.debugger.quit()
                except BochsEnd:
                    end, gone = await _gone(machine, end, boot.machine.cpus)
                except EmulatorError as error:
                    end = (Ending.CRASH, f"{end[0]} ({end[1]}), then: {error}") if memory is None else end
        log = read_log(folder / "bochs.log")
        debug = machine.debugger.debug_port()[: watch.cap]
        watch.mark("observed")
        if instructions is None:  # it left by itself: the last line of its log says when
            instructions = max(map(float, re.findall(rb"^(\d{1,18})[a-z]\[", log, re.MULTILINE)), default=0.0)
        identity = {**self._target.identity(), "cpu model": self._target.cpu_model(boot)}
        return await watch.observation(
            self._target.name,
            identity,
            end,
            debug=debug,
            ram_log=log_lines,
            screen=screen,
            text_memory=memory,
            registers=registers,
            logs={
                "bochs.log": neutral_log(log),
                "console.log": neutral_log(machine.console()),
                "bochsrc": neutral_log((folder / "bochsrc").read_bytes()),
            },
            gone=gone,
            vmx=machine.vmx,
            alarms=_alarms(log),
            panics=panics(log),
            seconds={"start": watch.started - begun, **watch.seconds, "whole": time.monotonic() - begun},
            counters={
                "cpu seconds": cpu,
                WHOLE_CPU: machine.process.cpu_seconds(),
                X_SERVER_CPU: display.cpu_seconds(),
                "emulated instructions": instructions,
            },
            commands=commands,
            by_hand="bochs -q -f bochsrc",
        )


def observable(found: BochsProgram, hint: str) -> BochsProgram:
    """The same program. Raises ChoiceError with the hint when guests in it cannot be observed."""
    if found.debugger is None:
        raise ChoiceError(
            f"Bochs {found.version} has no debugger, through which registers and memory are read", hint=hint
        )
    return found


def bochs_config(boot: Boot, model: str, folder: str) -> list[str]:
    """The machine's part of the configuration, but COM1; `folder` is what goes before the names of its files."""
    machine = boot.machine
    image, second = f"{folder}{IMAGE}", f"{folder}{SECOND}"
    msrs = f', ignore_bad_msrs=0, msrs="{folder}{MSRS}"' if machine.faulting_msrs else ", ignore_bad_msrs=1"
    return [
        # Without reset_on_triple_fault=0 a triple fault looks like a reset.
        f"cpu: model={model}, count={machine.cpus}, ips={IPS}, reset_on_triple_fault=0{msrs}",
        "clock: sync=none, time0=1600000000",
        f"memory: guest={machine.memory_mib}, host={machine.memory_mib}",
        f"optromimage1: file={folder}uart.rom, address={UART_ROM_ADDRESS:#x}",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        _first_drive(boot, image),
        *([_disk("slave", second)] if boot.second is not None else []),
        f"boot: {boot.medium}",
        "port_e9_hack: enabled=1",
    ]


def _informed(cpus: int) -> str:
    """What of Bochs' log says how a guest ends, and no more of that kind. The handler of SIGINT logs, too: a Bochs that
    is interrupted while it logs something waits for ever.
    """
    modules = ["pc_system", *(f"cpu{number}" for number in range(cpus))]
    return ", ".join(["info: action=ignore", *(f"{module}=report" for module in modules)])


def _first_drive(boot: Boot, image: str) -> str:
    """The drive that is booted from. A floppy's is the one that QEMU, too, takes for its size."""
    if boot.medium == Medium.CDROM:
        return f'ata0-master: type=cdrom, path="{image}", status=inserted'
    if boot.medium == Medium.FLOPPY:
        size = boot.image.stat().st_size
        if size not in FLOPPIES:
            raise EmulatorError(f"{size} bytes is no floppy's size")
        name = FLOPPIES[size].lower()
        drive = "2_88" if name == "2.88m" else "1_44" if name in ("720k", "1.44m") else "1_2"
        return f'floppya: type={drive}, {name.removesuffix("m").replace(".", "_")}="{image}", status=inserted'
    return _disk("master", image)


def _disk(place: str, image: str) -> str:
    """A hard disk whose geometry Bochs works out."""
    return f'ata0-{place}: type=disk, path="{image}", mode=flat, cylinders=0, heads=0, spt=0'


async def _exits(machine: BochsMachine, cpus: int) -> End:
    """Bochs ended by itself: because the guest switched the machine off, or because Bochs gave up."""
    code = await machine.process.wait()
    log = read_log(machine.log)
    said, _ = _log_end(log, 0, cpus)
    return said or (Ending.CRASH, f"Bochs ended with exit code {code}{_after_panic(log)}")


async def _log_says(machine: BochsMachine, boot: Boot, watch: Watch) -> End:
    """Follow Bochs' log until it tells that the guest is over. Where a terminal marker is to come, HLT with interrupts
    off is not the end: it may be a nested guest's, which an NMI, the preemption timer or the monitor trap flag wakes.
    A panic is not the end either: Bochs reports it and goes on. How far the guest was then is noted.
    """
    unfinished, resets, size = b"", 0, 0
    async for fresh in appended(machine.log, POLL):
        size += len(fresh)
        whole, _, unfinished = (unfinished + fresh).rpartition(b"\n")  # a line that is not whole yet is looked at again
        if watch.said_before_panic is None and panics(whole):
            watch.said_before_panic = await _said(machine, boot, watch)
        end, resets = _log_end(whole, resets, boot.machine.cpus)
        if end is not None and end[0] == Ending.HALTED and watch.end is not None:
            watch.halted = True
        elif end is not None:
            return end
        if size > LOG_CAP:
            return Ending.FLOOD, f"the guest made Bochs log more than {LOG_CAP} bytes"
    return await never()


async def _said(machine: BochsMachine, boot: Boot, watch: Watch) -> int | None:
    """How many bytes of the words of a boot are there by now; None where Bochs does not let itself be asked."""
    if boot.ram_log is None:
        return len(watch.serial.data)
    try:
        return await machine.logged(boot.ram_log)
    except EmulatorError:
        return None


async def _goes_on(machine: BochsMachine) -> End:
    """Never ends. A guest can call Bochs' debugger, or seem to: it goes on, unless the log says that it is over."""
    while True:
        await machine.debugger.prompted.wait()
        machine.debugger.prompted.clear()
        await asyncio.sleep(WORD)
        await machine.go_on()


async def _gone(machine: BochsMachine, end: End, cpus: int) -> tuple[End, bool]:
    """The end of a boot whose Bochs left before it could be looked at, and whether its guest switched it off."""
    await machine.process.wait_for(limits.BOCHS_STOP)
    log = read_log(machine.log)
    after, _ = _log_end(log, 0, cpus)
    if after is not None and after[0] == Ending.POWER_OFF:
        return (end[0], f"{end[1]}; then {after[1]}"), True
    return (
        Ending.CRASH,
        f"{end[0]} ({end[1]}), then: {after[1] if after else f'Bochs ended{_after_panic(log)}'}",
    ), False


def _after_panic(log: bytes) -> str:
    """What a Bochs that ended by itself gave up on last, behind other words."""
    *_, last = ["", *panics(log)]
    return f" after a panic: {last}" if last else ""


def _log_end(log: bytes, resets: int, cpus: int) -> tuple[End | None, int]:
    """The first ending that a piece of Bochs' log tells, and the resets counted so far: the power-on is logged as
    one.
    """
    for match in LOG_ENDS.finditer(log):
        kind = match.lastgroup
        if kind == "reset":
            resets += 1
            if resets > 1:
                return (Ending.RESET, "the guest reset the machine"), resets
        elif kind == "power_off":
            return (Ending.POWER_OFF, "the guest switched the machine off"), resets
        elif kind == "triple_fault":
            return (Ending.TRIPLE_FAULT, "the CPU entered shutdown: third exception with no resolution"), resets
        elif kind == "vmx_abort":
            return (Ending.TRIPLE_FAULT, "the CPU entered shutdown: VMX abort"), resets
        elif (
            kind == "halted" and cpus == 1
        ):  # with several CPUs one may halt for good while another goes on: the deadlines decide there
            return (Ending.HALTED, "HLT with interrupts off"), resets
    return None, resets


def _alarms(log: bytes) -> list[str]:
    lost = len(LOST_SERIAL.findall(log))
    if not lost:
        return []
    return [
        f"serial output lost: the guest wrote {lost} bytes to COM1 while the transmitter was busy, which a real "
        f"UART loses too;"
        " it must wait for THRE, bit 5 of the line status register"
    ]


def panics(log: bytes) -> list[str]:
    """What Bochs gave up on: the lines of its log, each once. A triple fault and a guest that switches the machine off
    are logged as panics, too; they are the guest's own ends.
    """
    ends = [match for match in LOG_ENDS.finditer(log) if match.lastgroup == "panic"]
    lines = [STAMP.sub("", match.group().decode(errors="replace")) for match in ends]
    return list(dict.fromkeys(lines))[:MOST_PANICS]


def bochs_requirements(wanted: str | None, display: str) -> list[Requirement]:
    """What running a Bochs takes (see `emulators.bochs.program.program`), with the display library "x" or "sdl2"."""
    install = "apt-get install bochs bochsbios vgabios"
    found = installed()
    vga_bios = Requirement("VGA BIOS", found.vga_bios.exists(), str(found.vga_bios), install)
    if wanted is not None:
        return [vga_bios]
    bochs = shutil.which(found.argv[0])
    library = f"libbx_{display}_gui.so"
    return [
        Requirement("Bochs", bochs is not None, found.version if bochs else "no bochs-bin", install),
        Requirement("Bochs BIOS", found.bios.exists(), str(found.bios), install),
        vga_bios,
        Requirement(
            "Bochs display",
            any(Path("/usr/lib").glob(f"*/bochs/plugins/{library}")),
            library,
            f"apt-get install bochs-{display.rstrip('2')}",
        ),
    ]
