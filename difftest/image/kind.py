"""What a file is that somebody wants to boot: looked at, never trusted."""

from __future__ import annotations

import enum
import struct
from pathlib import Path

from difftest.errors import CaseError

LARGEST = 8 << 30
ISO_SECTOR = 2048
_LOOKED_AT = 64 << 10
_MULTIBOOT = [(0x1BADB002, 8192, 4), (0xE85250D6, 32768, 8)]  # magic, bytes that the header lies in, its alignment


class Kind(enum.StrEnum):
    """What can be booted, or unpacked to something that can."""

    DISK = "disk"
    CDROM = "cdrom"
    KERNEL = "multiboot kernel"
    LINUX = "kernel of Linux' boot protocol"
    XZ = "xz"
    GZIP = "gzip"
    VMDK = "vmdk"
    QCOW2 = "qcow2"


KERNELS = {Kind.KERNEL, Kind.LINUX}
PACKED = {Kind.XZ, Kind.GZIP, Kind.VMDK, Kind.QCOW2}
_SIGNATURES = {
    b"\xfd7zXZ\0": Kind.XZ,
    b"\x1f\x8b": Kind.GZIP,
    b"KDMV": Kind.VMDK,
    b"# Disk DescriptorFile": Kind.VMDK,
    b"QFI\xfb": Kind.QCOW2,
}


def look(path: Path, medium: str = "") -> Kind:
    """What kind of image a file is. Raises CaseError when it is none, with what is missing.

    `medium` "disk" or "cdrom" decides where it could be either; of "data" nothing has to boot.
    """
    try:
        if not path.is_file():
            raise CaseError(f"{path}: no such image", hint="it takes a file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from error
    if not 0 < size <= LARGEST:
        raise CaseError(f"{path}: {size} bytes is no disk image")
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if medium == "data":
        return Kind.DISK
    multiboot = any(_multiboot_flags(head, *where) is not None for where in _MULTIBOOT)
    if head.startswith(b"\x7fELF"):
        if multiboot:
            return Kind.KERNEL
        hint = "a kernel needs a multiboot header in its first 8 KiB, or a multiboot2 header in its first 32 KiB"
        raise CaseError(f"{path}: an ELF file without a multiboot header", hint=hint)
    signed = head[510:512] == b"\x55\xaa"
    volume, boot_record = (head[sector * ISO_SECTOR :][:ISO_SECTOR] for sector in (16, 17))
    if volume[1:6] == b"CD001" and medium != "disk":
        if boot_record[1:30] == b"CD001\x01EL TORITO SPECIFICATION":
            return Kind.CDROM
        if not signed:
            raise CaseError(f"{path}: a CD that does not boot", hint="it has no El Torito boot record")
    if medium == "cdrom":
        raise CaseError(f"{path}: no CD image")
    # A header that tells where to load the file (bit 16) makes a kernel of a file that is no ELF.
    flags = _multiboot_flags(head, *_MULTIBOOT[0])
    if not signed and flags is not None and flags & 1 << 16:
        return Kind.KERNEL
    if signed and head[0x202:0x206] == b"HdrS":
        return Kind.LINUX
    if not signed:
        hint = (
            "a BIOS disk, a CD with El Torito or a multiboot kernel boots; packed as .xz, .gz, VMDK or qcow2 if need be"
        )
        raise CaseError(f"{path}: no boot signature (55 AA at the end of the first sector)", hint=hint)
    return Kind.DISK


def _multiboot_flags(head: bytes, magic: int, within: int, alignment: int) -> int | None:
    """The word behind the magic of a multiboot header whose checksum is right, or None."""
    words = 3 if alignment == 4 else 4
    for at in range(0, min(len(head), within) - 4 * words + 1, alignment):
        header = struct.unpack_from(f"<{words}I", head, at)
        if header[0] == magic and sum(header) & 0xFFFFFFFF == 0:
            return int(header[1])
    return None
