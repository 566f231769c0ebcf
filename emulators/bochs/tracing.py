"""One boot in Bochs of which a part is traced: each instruction by the debugger, and what the CPU logs beside it.

The debugger works off a file of commands: it lets the guest run to the first address, traces to the second, lets it run
to the third, and leaves.
Nobody interrupts it, for a Bochs that is interrupted while it logs something waits for ever.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from emulators.bochs.configuration import MORE_MSRS, MSRS, bochs_config
from emulators.bochs.log import log_end
from emulators.bochs.machine import bochs_machine
from emulators.bochs.program import BochsProgram
from emulators.bochs.uart_rom import uart_rom
from emulators.host import limits
from emulators.host.files import private_copy
from emulators.host.scratch import scratch
from emulators.observation import Boot, Ending
from emulators.standalone import IMAGE

LEVELS = "debug: action=ignore, cpu0=report"
MOST_BYTES = 256 << 20  # of the console: some million instructions
POLL = 0.2
LONGEST = 40.0  # seconds that a traced boot may take


class BochsTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What was traced."""

    console: bytes  # of the debugger: instructions and exceptions
    log: bytes  # of Bochs: VM entries, VM exits, page walks and more
    serial: bytes  # what the guest sent to COM1
    end: str  # why it did not come to its end; "" where it did


async def traced_boot(program: BochsProgram, boot: Boot, model: str, places: tuple[int, int, int]) -> BochsTrace:
    """Boot, and trace from the first to the second of these linear addresses; the third is where the guest ends.

    Raises EmulatorError when Bochs does not start.
    """
    start, stop, end_place = places
    commands = [f"lb {start:#x}", "c", "trace on", f"lb {stop:#x}", "c", "trace off", f"lb {end_place:#x}", "c", "quit"]
    with scratch("trace") as folder:
        await asyncio.to_thread(private_copy, boot.image, folder / IMAGE)
        (folder / "uart.rom").write_bytes(uart_rom())
        (folder / MSRS).write_text(MORE_MSRS)
        config = [*bochs_config(boot, model, f"{folder}/"), f"com1: enabled=1, mode=file, dev={folder / 'com1'}"]
        async with bochs_machine(program, [*config, LEVELS], folder, debugged=False, commands=commands) as machine:
            end = await _ended(machine.log, folder / "console.log", machine.process.wait(), boot)
            if machine.process.returncode is None:  # it logs no more: a prompt comes, and after it the rest of the file
                machine.process.send_signal(signal.SIGINT)
                await machine.process.wait_for(limits.BOCHS_STOP)
        console = (folder / "console.log").read_bytes()[:MOST_BYTES]
        serial = folder / "com1"
        return BochsTrace(
            console=console,
            log=(folder / "bochs.log").read_bytes(),
            serial=serial.read_bytes() if serial.exists() else b"",
            end=end,
        )


async def _ended(log: Path, console: Path, leaving: Coroutine[Any, Any, int], boot: Boot) -> str:
    """Wait until Bochs has left, or its guest is over, or a deadline is. Why it was not the first of these."""
    gone = asyncio.ensure_future(leaving)
    seconds = min(boot.limits.total, LONGEST)
    deadline = time.monotonic() + seconds
    try:
        while not gone.done():
            await asyncio.wait([gone], timeout=POLL)
            end, _ = log_end(log.read_bytes() if log.exists() else b"", 0, boot.machine.cpus)
            if end is not None and end[0] != Ending.HALTED and not gone.done():  # an event may wake it out of HLT
                return end[1]
            if time.monotonic() > deadline:
                return f"it did not come to its end in {seconds:.0f} s"
            if console.exists() and console.stat().st_size > MOST_BYTES:
                return "it is too long to be traced"
        return ""
    finally:
        gone.cancel()
