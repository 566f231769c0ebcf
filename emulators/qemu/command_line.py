"""QEMU's command lines: the machine that a guest is booted in, its disks, and the ports that it is watched by."""

from __future__ import annotations

import shlex

import msgspec

from emulators.observation import Boot, Medium
from emulators.qemu.program import EXECUTABLE
from emulators.standalone import IMAGE, SECOND

BOOT_ORDER = {Medium.DISK: "c", Medium.CDROM: "d", Medium.FLOPPY: "a"}
DRIVES = {
    Medium.DISK: "if=ide,index=0,snapshot=on",
    Medium.CDROM: "if=ide,index=0,media=cdrom,readonly=on",
    Medium.FLOPPY: "if=floppy,index=0,snapshot=on",
}


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where QEMU's ports lead: character device descriptions without their id."""

    qmp: str
    com1: str
    debug: str  # port 0xE9
    leave: str  # port 0xF4
    shutdown: str  # port 0x8900
    order: str  # the path of the file that takes what comes through all ports of the guest: emulators.qemu.order


def qemu_argv(
    boot: Boot, *, executable: str, accelerator: str, cpu: str, image: str, second: str = "", ports: Ports
) -> list[str]:
    """QEMU's command line: the machine of the first bug report, stopped before its first instruction.

    `image` and `second` are the disks' paths on QEMU's machine.
    """
    logged = f",logfile={ports.order},logappend=on"
    return [
        *machine_argv(boot, executable=executable, accelerator=accelerator, cpu=cpu, image=image, second=second),
        *["-display", "none"],
        *["-chardev", f"{ports.com1},id=com1{logged}", "-serial", "chardev:com1"],
        *["-chardev", f"{ports.qmp},id=qmp", "-mon", "chardev=qmp,mode=control"],
        *["-chardev", f"{ports.debug},id=debug{logged}", "-device", "isa-debugcon,iobase=0xe9,chardev=debug"],
        # Not isa-debug-exit: QEMU would be gone at once, and with it the screen. Reads answer as where no device is.
        *["-chardev", f"{ports.leave},id=leave{logged}"],
        *["-device", "isa-debugcon,iobase=0xf4,readback=0xff,chardev=leave"],
        *["-chardev", f"{ports.shutdown},id=off{logged}"],
        *["-device", "isa-debugcon,iobase=0x8900,readback=0xff,chardev=off"],
        # Stay there, stopped, after whatever ends the guest: its registers and its screen are evidence.
        *["-action", "reboot=shutdown,shutdown=pause,panic=pause"],
        "-S",
    ]


def machine_argv(boot: Boot, *, executable: str, accelerator: str, cpu: str, image: str, second: str = "") -> list[str]:
    """The part of a command line that is the machine, without what the tester talks to it by."""
    machine = boot.machine
    options = f",{machine.qemu_options}" if machine.qemu_options else ""
    return [
        executable,
        *["-nodefaults", "-no-user-config", "-vga", "std"],
        *["-machine", f"pc{options}", "-accel", accelerator, "-cpu", cpu],
        *["-m", f"{machine.memory_mib}M", "-smp", str(machine.cpus)],
        *[word for disk in _disks(boot, image, second) for word in ("-drive", disk)],
        *["-boot", f"order={BOOT_ORDER[boot.medium]}"],
    ]


def stock_argv(boot: Boot, accelerator: str, cpu: str) -> list[str]:
    """The machine in the QEMU that everybody has, with the disks in the current folder."""
    second = SECOND if boot.second is not None else ""
    return machine_argv(boot, executable=EXECUTABLE, accelerator=accelerator, cpu=cpu, image=IMAGE, second=second)


def qemu_line(boot: Boot, accelerator: str, cpu: str) -> str:
    """That machine with its screen in a window and its serial port on the terminal, for somebody who looks himself."""
    return shlex.join([*stock_argv(boot, accelerator, cpu), "-serial", "stdio"])


def _disks(boot: Boot, image: str, second: str) -> list[str]:
    """Values of -drive. Commas in paths are doubled, as QEMU splits at them; `snapshot=on` leaves a disk untouched."""
    first = f"file={image.replace(',', ',,')},format=raw,{DRIVES[boot.medium]}"
    return [first, f"file={second.replace(',', ',,')},format=raw,if=ide,index=1,snapshot=on"] if second else [first]
