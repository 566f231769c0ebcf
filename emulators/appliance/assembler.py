"""Boot sectors out of assembly, by the host's gcc and binutils."""

from __future__ import annotations

import subprocess
from pathlib import Path

from emulators.target import EmulatorError

BOOT_SOURCE, BOOT_ADDRESS = Path(__file__).with_name("boot.S"), 0x7C00


def assembled(source: Path, address: int, folder: Path) -> bytes:
    """The flat binary of 32- and 16-bit code linked to run at `address`; `folder` takes what comes between.

    Raises EmulatorError with the assembler's words.
    """
    part, target = folder / f"{source.stem}.o", folder / f"{source.stem}.bin"
    steps = (
        ["gcc", "-m32", "-c", str(source), "-o", str(part)],
        ["ld", "-m", "elf_i386", "-Ttext", hex(address), "--oformat", "binary", "-o", str(target), str(part)],
    )
    for argv in steps:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError as error:
            raise EmulatorError(f"{argv[0]}: {error.strerror}", hint="apt-get install gcc binutils") from error
        if done.returncode:
            raise EmulatorError(f"the boot sector {source.name} does not build", evidence=done.stderr[-2000:])
    return target.read_bytes()
