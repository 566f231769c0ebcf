"""Boot sectors out of assembly, and what runs in and under the appliance out of C, by the host's gcc and binutils."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emulators.host.errors import EmulatorError
from emulators.host.tools import ran, tail

BOOT_SOURCE, BOOT_ADDRESS = Path(__file__).with_name("boot.S"), 0x7C00
PACK_SOURCE, TAKE_SOURCE, DIGEST_SOURCE = (Path(__file__).with_name(name) for name in ("pack.c", "take.c", "digest.c"))
HEADERS = tuple(Path(__file__).with_name(name) for name in ("freestanding.h", "deflate.h"))
MEMORY_SOURCE = Path(__file__).with_name("memory.c")
# No C library, nor anything that a compiler set up otherwise would add to a program.
FREESTANDING = (
    *(
        "-m64",
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-ffreestanding",
        "-fno-builtin",
        "-fno-strict-aliasing",
    ),
    *(
        "-fno-tree-loop-distribute-patterns",
        "-fno-stack-protector",
        "-fno-asynchronous-unwind-tables",
        "-fcf-protection=none",
    ),
    *("-nostdlib", "-s", "-Wl,--build-id=none,-z,noexecstack"),
)
PROGRAM, LIBRARY = ("-fno-pic", "-no-pie", "-static"), ("-fPIC", "-shared")


def assembled(source: Path, address: int, folder: Path) -> bytes:
    """The flat binary of 32- and 16-bit code linked to run at `address`; `folder` takes what comes between.

    Raises EmulatorError with the assembler's words.
    """
    part, target = folder / f"{source.stem}.o", folder / f"{source.stem}.bin"
    link = ["ld", "-m", "elf_i386", "-Ttext", hex(address), "--oformat", "binary", "-o", str(target), str(part)]
    _run(["gcc", "-m32", "-c", str(source), "-o", str(part)], source)
    _run(link, source)
    return target.read_bytes()


def compiled(source: Path, folder: Path, kind: Sequence[str] = PROGRAM) -> bytes:
    """The PROGRAM or LIBRARY, for Linux on x86-64, that C without any library's headers makes; `folder` takes what
    comes between.

    Raises EmulatorError with the compiler's words.
    """
    target = folder / source.stem
    _run(["gcc", *FREESTANDING, *kind, "-o", str(target), str(source)], source)
    return target.read_bytes()


def _run(argv: Sequence[str], source: Path) -> None:
    done = ran(argv, hint="apt-get install gcc binutils")
    if done.returncode:
        raise EmulatorError(f"{source.name} does not build", evidence=tail(done.stderr))
