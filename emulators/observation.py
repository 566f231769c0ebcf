"""What one boot of one image on one target gave: plain data, written by the emulators, read by everything else.

Every `bytes` field comes from the guest or from an emulator that the guest drives, so it is hostile: it is turned into
text in one place only (`difftest.text`).
"""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from emulators.ram_log import RamLog

TEXT_COLUMNS = 80
TEXT_ROWS = 25
TEXT_BYTES = TEXT_COLUMNS * TEXT_ROWS * 2  # a character and an attribute byte per cell, from physical 0xB8000

# The counter of all CPU seconds of an emulator that did this boot alone, from its start to its end. "cpu seconds" are
# those up to where the guest was over.
WHOLE_CPU = "cpu seconds of the whole emulator"
EXITS_LOG = "exits.log"  # of a boot under KVM whose exits were recorded: which of them L0 handled; docs/formats.md
L0_LOG = "l0.log"  # of the same boot: what L0 did, in its order
X_SERVER_CPU = "cpu seconds of the X server"


class Ending(enum.StrEnum):
    """How a boot ended."""

    FINISHED = "finished"  # the case's terminal marker was on COM1 or port 0xE9
    HALTED = "halted"  # every CPU in HLT with interrupts off: nothing more can come
    SETTLED = "settled"  # the text screen showed what the case ends with, and stood still
    QUIET = "timeout-quiet"  # nothing new on its ports and its screen for too long
    TOTAL = "timeout-total"  # still talking when the total deadline came
    FLOOD = "flood"  # more serial output than the cap
    RESET = "reset"  # the guest reset the machine
    TRIPLE_FAULT = "triple-fault"  # the CPU entered shutdown, for a triple fault or a VMX abort
    POWER_OFF = "power-off"  # the guest switched the machine off, or left through a port made for that
    PANIC = "guest-panic"  # the guest said so itself (pvpanic)
    INTERNAL_ERROR = "kvm-internal-error"  # KVM gave up on the vCPU
    CRASH = "emulator-crash"  # the emulator died, or could not be started


LEFT_BY_PORT = "the guest left through port 0xF4"  # how the detail of such an end begins

# Ends after which a guest has said all that it had to say, ends that are a behaviour of the machine under test, and
# ends of a guest that goes on no more.
ORDERLY = {Ending.FINISHED, Ending.HALTED, Ending.POWER_OFF}
FATAL = {Ending.TRIPLE_FAULT, Ending.RESET, Ending.INTERNAL_ERROR}
HUNG = {Ending.HALTED, Ending.QUIET}


class Medium(enum.StrEnum):
    """What an image is an image of, and so what the firmware boots from."""

    DISK = "disk"  # a hard disk
    CDROM = "cdrom"
    FLOPPY = "floppy"


# The sizes of floppies in bytes, as people call them. 5.25 inch drives take those up to 360K, and 1.2M.
FLOPPIES = {
    163_840: "160K",
    184_320: "180K",
    327_680: "320K",
    368_640: "360K",
    737_280: "720K",
    1_228_800: "1.2M",
    1_474_560: "1.44M",
    2_949_120: "2.88M",
}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine an image asks for; the same on every target."""

    memory_mib: int = 256
    cpus: int = 1
    cpu_models: dict[str, str] = {}  # target name -> CPU model, where the target's own default will not do
    ignore_msrs: bool = (
        False  # MSRs that the CPU lacks read as zero instead of raising #GP, where a target has the choice
    )
    faulting_msrs: bool = False  # MSRs that the CPU lacks raise #GP under Bochs, too, which else reads them as zero
    qemu_options: str = ""  # more of QEMU's -machine, such as "kernel_irqchip=off"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a boot is over although the guest does not say so. Seconds of wall time and bytes of serial output."""

    quiet: float = 20.0
    total: float = 120.0
    serial_bytes: int = 1 << 20


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """One boot to be done: these bytes, on this machine, until `end` (a bytes regex) is seen on COM1 or port 0xE9."""

    image: Path
    image_sha256: str
    medium: Medium = Medium.DISK
    second: Path | None = None  # a second hard disk
    second_sha256: str = ""
    machine: Machine = Machine()
    limits: Limits = Limits()
    ram_log: RamLog | None = None  # where the image leaves lines in its memory, if it does
    watches_vmx: bool = False  # it is to be seen whether VM exits happen, on a target that can
    end: str = ""  # empty: no marker is known; the boot ends by halting, switching off, or at a limit
    end_screen: str = ""  # a regex: a boot whose text screen shows this and stands still is over, too


class KernelFault(msgspec.Struct, frozen=True, kw_only=True):
    """A WARN, BUG or oops in the log of L0's kernel. `in_kvm`: KVM is on the call stack, so that KVM is to answer for
    it.
    """

    line: str
    trace: list[str] = []  # the functions of the call trace, the innermost first
    in_kvm: bool


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that one boot gave. It is made once, when the last figures of the emulator are known.

    `seconds` maps phase names to wall seconds, `counters` whatever else was counted (emulated instructions, CPU
    seconds); `registers` maps lower-case register names to hexadecimal text; `logs` maps a name ("bochs.log",
    "kernel.log") to bytes.
    """

    target: str
    identity: dict[str, str]
    image_sha256: str
    image_sha256_after: str
    ending: Ending
    detail: str
    serial: bytes = b""
    debug: bytes = b""  # what was written to port 0xE9
    ram_log: bytes = b""  # the lines that an image of the kit left in its memory, instead of sending them to COM1
    screen: bytes | None = None  # PNG of the VGA picture
    text_memory: bytes | None = None  # TEXT_BYTES bytes from physical 0xB8000
    registers: dict[str, str] = {}
    logs: dict[str, bytes] = {}
    vmx: bool = False  # a VM exit was seen, where the boot was to watch for them
    gone: bool = False  # the guest switched the machine off, and the emulator with it, before it could be looked at
    alarms: list[str] = []  # what makes this observation unfit for a verdict, such as serial bytes that got lost
    panics: list[str] = []  # what the emulator itself said when it gave up on something: findings in themselves
    said_before_panic: int | None = None  # bytes of `words` that were there when the first was noticed, where known
    kernel_faults: list[KernelFault] = []  # in L0's kernel log: findings in themselves
    seconds: dict[str, float] = {}
    counters: dict[str, float] = {}
    commands: list[list[str]] = []
    by_hand: str = ""  # a shell line for the same boot of disk.img without the tester; "" where there is none

    @property
    def words(self) -> bytes:
        """What the image said in lines: its RAM log where it keeps one, which then has all of them, or else what came
        on COM1.
        """
        return self.ram_log or self.serial
