"""Boots of target `bochs`, each in a Bochs of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emulators.bochs.com_port import com_port
from emulators.bochs.configuration import MORE_MSRS, MSRS, bochs_config, log_levels
from emulators.bochs.debugger import BochsEnd
from emulators.bochs.log import after_panic, alarms, log_end, panics
from emulators.bochs.machine import POLL, BochsMachine, bochs_machine
from emulators.bochs.program import BochsProgram
from emulators.bochs.uart_rom import uart_rom
from emulators.bochs.xvfb import Displays
from emulators.host import limits
from emulators.host.errors import EmulatorError, Progress
from emulators.host.files import private_copy, read_log
from emulators.host.limits import in_time
from emulators.host.paths import neutral_argv, neutral_log
from emulators.host.scratch import scratch
from emulators.observation import WHOLE_CPU, X_SERVER_CPU, Boot, Ending, Observation
from emulators.standalone import IMAGE, SECOND
from emulators.watch import End, Watch, appended, discarding, first, never

LOOK = 2.0  # seconds of silence after which the screen is looked at, again and again
HALT_LOOK = 1.0  # seconds of silence after which several CPUs are looked at
LONGEST_HALT_LOOK = 8.0  # seconds from one look to the next
LOG_CAP = 64 << 20  # bytes of log after which a guest is taken to flood it
WORD = 0.2  # seconds that the log gets to say why the simulation has stopped by itself


class BochsSettings(NamedTuple):
    """What a session takes from its target. `identity` is asked when a boot is over: by then the program is there."""

    target: str
    configuration: str  # the name of its file, where it is booted by hand
    displays: Displays
    identity: Callable[[], dict[str, str]]
    cpu_model: Callable[[Boot], str]


class BochsSession:
    """Boots images one after the other, each in a Bochs of its own."""

    def __init__(self, settings: BochsSettings, program: BochsProgram, progress: Progress) -> None:
        self._settings = settings
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
        watched = boot.machine.cpus if boot.watches_vmx else 0
        async with contextlib.AsyncExitStack() as stack:
            com1 = await stack.enter_async_context(com_port())
            of_boot = bochs_config(boot, self._settings.cpu_model(boot), f"{folder}/")
            config = [*of_boot, com1.line(1), log_levels(boot.machine.cpus)]
            display = await stack.enter_async_context(self._settings.displays.lent())
            machine = await stack.enter_async_context(
                bochs_machine(self._program, config, folder, display=display, debugged=True, watched=watched)
            )
            commands = [neutral_argv(machine.process.argv)]
            try:
                starting = in_time(
                    com1.connected, limits.BOCHS_START, "Bochs does not start the guest", end=machine.process.wait
                )
                stream, writer = await starting
                stack.callback(writer.close)
                await machine.debugger.started(boot.machine.cpus, watched)
                watch.go()
                end = await first(
                    watch.serial.reader(stream),
                    watch.debug.reader(machine.debugger.guest),
                    _log_says(machine, boot, watch),
                    _exits(machine, boot.machine.cpus),
                    _goes_on(machine),
                    _all_halt(machine, boot.machine.cpus, watch),
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
            if display.server.returncode is not None:  # what Bochs did without it is nothing that the guest did
                message = "the X server that Bochs drew on has ended"
                raise EmulatorError(message, hint="was it killed, for want of memory?")
        log = read_log(folder / "bochs.log")
        debug = machine.debugger.debug_port()[: watch.cap]
        watch.mark("observed")
        if instructions is None:  # it left by itself: the last line of its log says when
            instructions = max(map(float, re.findall(rb"^(\d{1,18})[a-z]\[", log, re.MULTILINE)), default=0.0)
        identity = {**self._settings.identity(), "cpu model": self._settings.cpu_model(boot)}
        return await watch.observation(
            self._settings.target,
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
            alarms=alarms(log),
            panics=panics(log),
            seconds={"start": watch.started - begun, **watch.seconds, "whole": time.monotonic() - begun},
            counters={
                "cpu seconds": cpu,
                WHOLE_CPU: machine.process.cpu_seconds(),
                X_SERVER_CPU: display.cpu_seconds(),
                "emulated instructions": instructions,
            },
            commands=commands,
            by_hand=f"bochs -q -f {self._settings.configuration}",
        )


async def _exits(machine: BochsMachine, cpus: int) -> End:
    """Bochs ended by itself: because the guest switched the machine off, or because Bochs gave up."""
    code = await machine.process.wait()
    log = read_log(machine.log)
    said, _ = log_end(log, 0, cpus)
    return said or (Ending.CRASH, f"Bochs ended with exit code {code}{after_panic(log)}")


async def _log_says(machine: BochsMachine, boot: Boot, watch: Watch) -> End:
    """Follow Bochs' log until it says that the guest is over. Where a terminal marker is to come, HLT with interrupts
    off is not the end: it may be a nested guest's, which an NMI, the preemption timer or the monitor trap flag wakes.
    A panic is not the end either: Bochs reports it and goes on. How far the guest was then is noted.
    """
    unfinished, resets, size = b"", 0, 0
    async for fresh in appended(machine.log, POLL):
        size += len(fresh)
        whole, _, unfinished = (unfinished + fresh).rpartition(b"\n")  # a line that is not whole yet is looked at again
        if watch.said_before_panic is None and panics(whole):
            watch.said_before_panic = await _said(machine, boot, watch)
        end, resets = log_end(whole, resets, boot.machine.cpus)
        if end is not None and end[0] == Ending.HALTED and watch.end is not None:
            watch.halted = True
        elif end is not None:
            return end
        if size > LOG_CAP:
            return Ending.FLOOD, f"the guest made Bochs log more than {LOG_CAP} bytes"
    return await never()


async def _all_halt(machine: BochsMachine, cpus: int, watch: Watch) -> End:
    """Of several CPUs one may halt for good while another goes on: they are looked at when the guest has fallen
    silent. Where a terminal marker is to come this is not the end, as for a single one.
    """
    pause = HALT_LOOK
    with contextlib.suppress(EmulatorError):  # one that cannot be looked at ends by the deadlines
        while cpus > 1:
            await asyncio.sleep(pause)
            if watch.silent_for() < HALT_LOOK:
                pause = HALT_LOOK
            elif not await machine.all_halted(cpus):
                pause = min(2 * pause, LONGEST_HALT_LOOK)
            elif watch.end is None:
                return Ending.HALTED, "HLT with interrupts off on all CPUs"
            else:
                watch.halted = True
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
    after, _ = log_end(log, 0, cpus)
    if after is not None and after[0] == Ending.POWER_OFF:
        return (end[0], f"{end[1]}; then {after[1]}"), True
    return (
        Ending.CRASH,
        f"{end[0]} ({end[1]}), then: {after[1] if after else f'Bochs ended{after_panic(log)}'}",
    ), False
