"""The configuration of the Bochs that a guest is booted in: its machine, its drives, and what it logs."""

from __future__ import annotations

from emulators.bochs.uart_rom import ADDRESS as UART_ROM_ADDRESS
from emulators.host.errors import EmulatorError
from emulators.observation import FLOPPIES, Boot, Medium
from emulators.standalone import IMAGE, SECOND

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


def log_levels(cpus: int) -> str:
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
