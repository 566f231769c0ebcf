"""A kernel with its command line and modules as a disk that boots from a BIOS, by GRUB of Debian's packages.

sector 0       GRUB's boot sector, with a partition table
sector 1 ..    GRUB's core image, which has the commands to run inside
1 MiB ..       the only partition: a tar archive with the kernel and the modules
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from difftest.errors import CaseError, HostError
from emulators.host.errors import EmulatorError
from emulators.host.tools import ran

GRUB = Path("/usr/lib/grub/i386-pc")
INSTALL = "apt-get install grub-pc-bin grub-common"
_SECTOR = 512
_PARTITION = 2048  # its first sector
_PARTITION_TABLE = 446
_LINUX = 0x83
# `vbe` is for kernels whose header asks for a video mode.
_MODULES = ["biosdisk", "part_msdos", "tar", "multiboot", "multiboot2", "linux16", "vbe"]
_MULTIBOOT2 = struct.pack("<I", 0xE85250D6)
_MULTIBOOT = struct.pack("<I", 0x1BADB002)
# GRUB puts backslashes before quotes and backslashes when it hands words on, so these cannot be passed as they are.
_WORD = re.compile(r"[!#-&(-\[\]-~]+")


def wrapped(kernel: Path, linux: bool, command_line: str, modules: Sequence[tuple[Path, str]], target: Path) -> None:
    """Write the disk to `target`. `modules` are files and the words after their names; those of a Linux kernel are its
    initrd. Raises CaseError and OSError.
    """
    data = kernel.read_bytes()
    files = {"kernel": data} | {f"module{number}": path.read_bytes() for number, (path, _) in enumerate(modules)}
    if linux:
        commands = [["linux16", "/kernel", *_quoted(kernel, command_line.split())]]
        if modules:
            commands.append(["initrd16", *(f"/module{number}" for number in range(len(modules)))])
    else:
        two = _MULTIBOOT2 in data[:32768] and _MULTIBOOT not in data[:8192]
        commands = [["multiboot2" if two else "multiboot", "/kernel", *_words(kernel, command_line)]]
        for number, (path, words) in enumerate(modules):
            commands.append(["module2" if two else "module", f"/module{number}", *_words(path, words)])
    script = "\n".join([" ".join(command) for command in [["set", "root=(hd0,msdos1)"], *commands, ["boot"]]])
    target.write_bytes(_disk(_core(script + "\n"), _tar(files)))


def _words(path: Path, words: str) -> list[str]:
    """The command line of a kernel or module: the file's name first, as GRUB legacy and QEMU do it."""
    return _quoted(path, [re.sub(r"[^\w.+-]", "_", path.name, flags=re.ASCII), *words.split()])


def _quoted(path: Path, words: Sequence[str]) -> list[str]:
    for word in words:
        if not _WORD.fullmatch(word):
            raise CaseError(
                f"{path}: GRUB cannot pass {word!r} on", hint="words of ASCII without quotes and backslashes"
            )
    return [f"'{word}'" for word in words]


def _core(commands: str) -> bytes:
    """GRUB's core image with these commands inside."""
    if not (GRUB / "boot.img").exists():
        raise HostError("a multiboot kernel is booted by GRUB, which is missing", hint=INSTALL)
    with tempfile.TemporaryDirectory(prefix="difftest-grub-") as folder:
        (Path(folder) / "commands").write_text(commands)
        argv = ["grub-mkimage", "-O", "i386-pc", "-p", "/", "-c", "commands", "-o", "core.img", *_MODULES]
        try:
            done = ran(argv, folder=Path(folder), hint=INSTALL)
        except EmulatorError as error:
            raise HostError(str(error), hint=error.hint) from error
        if done.returncode:
            raise HostError(f"grub-mkimage failed: {done.stderr[:2000].decode(errors='replace')}", hint=INSTALL)
        return (Path(folder) / "core.img").read_bytes()


def _tar(files: dict[str, bytes]) -> bytes:
    """Same files, same bytes: no times, no owners."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def _disk(core: bytes, partition: bytes) -> bytes:
    sectors = -(-len(partition) // _SECTOR)
    if len(core) > (_PARTITION - 1) * _SECTOR:
        raise CaseError("GRUB's core image does not fit before the partition")
    # Cylinder, head and sector say nothing, as the standard has it for what they cannot express: all is done by sector
    # number.
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", _LINUX, b"\xfe\xff\xff", _PARTITION, sectors)
    boot = (GRUB / "boot.img").read_bytes()[:_PARTITION_TABLE] + entry.ljust(64, b"\0") + b"\x55\xaa"
    return (boot + core).ljust(_PARTITION * _SECTOR, b"\0") + partition.ljust(sectors * _SECTOR, b"\0")
