"""What Bochs' own log says of a guest: how it ended, bytes that got lost, and what Bochs gave up on."""

from __future__ import annotations

import re

from emulators.observation import Ending
from emulators.watch import End

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
# Lines of the log that are panics, found by their beginning alone: a log may have megabytes of other lines.
PANIC = re.compile(rb"^\d+p\[[^\n]*", re.MULTILINE)
STAMP = re.compile(r"^\d+p")  # the time and kind of a line of the log
MOST_PANICS = 20
LOST_SERIAL = re.compile(rb"com1: (?:write to tx hold register when not empty|transmit FIFO overflow)")


def after_panic(log: bytes) -> str:
    """What a Bochs that ended by itself gave up on last, after other words."""
    *_, last = ["", *panics(log)]
    return f" after a panic: {last}" if last else ""


def log_end(log: bytes, resets: int, cpus: int) -> tuple[End | None, int]:
    """The first ending that a piece of Bochs' log reports, and the resets counted so far: the power-on is logged as
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


def alarms(log: bytes) -> list[str]:
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
    found = (LOG_ENDS.match(line.group()) for line in PANIC.finditer(log))
    lines = (STAMP.sub("", end.group().decode(errors="replace")) for end in found if end and end.lastgroup == "panic")
    return list(dict.fromkeys(lines))[:MOST_PANICS]
