"""What a file is that somebody wants to boot: looked at, never trusted."""

from __future__ import annotations

import enum
import re
import struct
from pathlib import Path

import msgspec

from difftest.errors import CaseError, refusal
from difftest.image.medium import (
    ISO_SECTOR,
    SIGNATURE,
    boots_by_uefi_alone,
    bpb_bytes,
    cd_remarks,
    disk_remarks,
    has_code,
    partitions,
)
from emulators.observation import FLOPPIES

LARGEST = 8 << 30
_LOOKED_AT = 64 << 10
_CD_LOOKED_AT = 8 << 20  # its boot catalog may lie anywhere, and lies at the beginning
_MULTIBOOT = [(0x1BADB002, 8192, 4), (0xE85250D6, 32768, 8)]  # magic, bytes that the header lies in, its alignment
_WHAT_BOOTS = (
    "a BIOS disk or floppy, a CD with El Torito or a multiboot kernel boots; packed as .xz, .gz, .bz2, .zst, VMDK, "
    "VDI, VHDX or qcow2 if need be"
)


class Kind(enum.StrEnum):
    """What can be booted, or unpacked to something that can."""

    DISK = "hard disk"
    CDROM = "CD"
    FLOPPY = "floppy"
    KERNEL = "multiboot kernel"
    LINUX = "kernel of Linux' boot protocol"
    XZ = "xz"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    ZSTD = "zstd"
    VMDK = "vmdk"
    QCOW2 = "qcow2"
    VDI = "vdi"
    VHDX = "vhdx"


KERNELS = {Kind.KERNEL, Kind.LINUX}
PACKED = {Kind.XZ, Kind.GZIP, Kind.BZIP2, Kind.ZSTD, Kind.VMDK, Kind.QCOW2, Kind.VDI, Kind.VHDX}
_SIGNATURES = {
    b"\xfd7zXZ\0": Kind.XZ,
    b"\x1f\x8b": Kind.GZIP,
    b"BZh": Kind.BZIP2,
    b"\x28\xb5\x2f\xfd": Kind.ZSTD,
    b"KDMV": Kind.VMDK,
    b"# Disk DescriptorFile": Kind.VMDK,
    b"QFI\xfb": Kind.QCOW2,
    b"<<< ": Kind.VDI,
    b"vhdxfile": Kind.VHDX,
}
# What people drop here that no firmware boots: how it begins, what it is, and what to do.
_OTHERS = [
    (rb"%PDF-", "a PDF document", ""),
    (rb"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (rb"MZ", "a program for UEFI or Windows", "difftest boots by a BIOS: take the image's BIOS variant"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture", ""),
    (rb"#!|<\?xml|<!DOCTYPE|<html", "a script or a page", ""),
    (rb"!<arch>\n", "a package or an archive of object files", "unpack it first"),
    (rb"(?s).{257}ustar", "a tar archive", "unpack it first"),
]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is, why it is taken for that, and what else a user may want to know, in sentences."""

    kind: Kind
    why: str = ""
    remarks: list[str] = []

    @property
    def sentences(self) -> list[str]:
        return [f"booted as a {self.kind}, because {self.why}", *self.remarks] if self.why else self.remarks


def look(path: Path, medium: str = "") -> Look:
    """What kind of image a file is. Raises CaseError when it is none, with what is missing.

    `medium` "disk", "cdrom" or "floppy" decides where it could be several; of "data" nothing has to boot.
    """
    try:
        if not path.is_file():
            raise CaseError(f"{path}: no such image", hint="it takes a file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
            if _is_cd(head):
                head += file.read(_CD_LOOKED_AT)
            file.seek(max(0, size - 16))
            tail = file.read(16)
    except OSError as error:
        raise refusal(error, f"{path}: {error.strerror}", otherwise=CaseError) from error
    if not 0 < size <= LARGEST:
        hint = f"it takes images of up to {LARGEST >> 30} GiB" if size else "the file is empty"
        raise CaseError(f"{path}: {size} bytes is no disk image", hint=hint)
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return Look(kind=kind)
    if medium == "data":
        return Look(kind=Kind.DISK)
    if head.startswith(b"\x7fELF"):
        return _elf(path, head)
    signed = head[510:512] == SIGNATURE
    if _is_cd(head) and medium not in ("disk", "floppy"):
        if _has_boot_record(head):
            return _cd(path, head)
        if not signed:
            hint = "it has no El Torito boot record: an ISO of data, or one that was made without a boot image"
            raise CaseError(f"{path}: a CD that does not boot", hint=hint)
    if medium == "cdrom":
        raise CaseError(f"{path}: no CD image")
    # A header that says where to load the file (bit 16) makes a kernel of a file that is no ELF.
    flags = _multiboot_flags(head, *_MULTIBOOT[0])
    if not signed and flags is not None and flags & 1 << 16:
        return Look(kind=Kind.KERNEL, why="it has a multiboot header: GRUB loads it from a disk")
    if signed and head[0x202:0x206] == b"HdrS":
        return Look(kind=Kind.LINUX, why="it has the header of Linux' boot protocol: GRUB loads it from a disk")
    if not signed:
        raise _unbootable(path, head, tail, size)
    return _disk_or_floppy(path, head, size, medium)


def _elf(path: Path, head: bytes) -> Look:
    if any(_multiboot_flags(head, *where) is not None for where in _MULTIBOOT):
        return Look(kind=Kind.KERNEL, why="it is an ELF file with a multiboot header: GRUB loads it from a disk")
    hint = "a kernel needs a multiboot header in its first 8 KiB, or a multiboot2 header in its first 32 KiB"
    raise CaseError(f"{path}: an ELF file without a multiboot header", hint=hint)


def _cd(path: Path, head: bytes) -> Look:
    if boots_by_uefi_alone(head):
        raise CaseError(f"{path}: a CD that boots by UEFI alone", hint="difftest boots by a BIOS")
    return Look(kind=Kind.CDROM, why="it has an El Torito boot record", remarks=list(cd_remarks(head)))


def _disk_or_floppy(path: Path, head: bytes, size: int, medium: str) -> Look:
    """An image that begins with a boot sector: of a floppy by its size or its BIOS parameter block, else of a disk."""
    described = bpb_bytes(head)
    if medium == "floppy" or (medium != "disk" and described and size <= described):
        if size > max(FLOPPIES):
            raise CaseError(f"{path}: {size} bytes are more than a floppy has")
        name = FLOPPIES[floppy_bytes(head, size)]
        asked = "--medium, or the manifest, says so" if medium == "floppy" else ""
        by = f"its boot sector describes one of {name}" if described >= size else f"it fits one of {name}"
        return Look(kind=Kind.FLOPPY, why=asked or by)
    if medium != "disk" and size in FLOPPIES and not partitions(head):
        return Look(kind=Kind.FLOPPY, why=f"it has the size of one of {FLOPPIES[size]} (--medium disk: as a hard disk)")
    if partitions(head) and not has_code(head):
        what = "there is no code in its first sector, only a partition table: it boots by UEFI, if at all"
        raise CaseError(f"{path}: {what}", hint="difftest boots by a BIOS")
    return Look(kind=Kind.DISK, why="its first sector ends with 55 AA", remarks=list(disk_remarks(head, size)))


def floppy_bytes(head: bytes, size: int) -> int:
    """The size of the floppy that holds an image of `size` bytes, at most the largest: the one that its boot sector
    describes, or else the smallest.
    """
    described = bpb_bytes(head)
    return described if described >= size else min(one for one in FLOPPIES if one >= size)


def _unbootable(path: Path, head: bytes, tail: bytes, size: int) -> CaseError:
    """The error for a file without a boot signature, which says what it is instead where that can be seen."""
    for pattern, what, hint in _OTHERS:
        if re.match(pattern, head):
            return CaseError(f"{path}: {what}, no image that boots", hint=hint or _WHAT_BOOTS)
    if size >= 64 << 10 and size & (size - 1) == 0 and tail[:1] in (b"\xea", b"\xe9", b"\xeb"):
        hint = "difftest boots what a BIOS boots: a disk, a CD or a kernel"
        return CaseError(f"{path}: a firmware's ROM by its last 16 bytes, which takes a BIOS' place", hint=hint)
    if not head.strip(b"\0"):
        return CaseError(f"{path}: its first {len(head)} bytes are zero: nothing boots from it", hint=_WHAT_BOOTS)
    return CaseError(f"{path}: no boot signature (55 AA at the end of the first sector)", hint=_WHAT_BOOTS)


def _is_cd(head: bytes) -> bool:
    return head[16 * ISO_SECTOR :][1:6] == b"CD001"


def _has_boot_record(head: bytes) -> bool:
    return head[17 * ISO_SECTOR :][1:30] == b"CD001\x01EL TORITO SPECIFICATION"


def _multiboot_flags(head: bytes, magic: int, within: int, alignment: int) -> int | None:
    """The word after the magic of a multiboot header whose checksum is right, or None."""
    words = 3 if alignment == 4 else 4
    for at in range(0, min(len(head), within) - 4 * words + 1, alignment):
        header = struct.unpack_from(f"<{words}I", head, at)
        if header[0] == magic and sum(header) & 0xFFFFFFFF == 0:
            return int(header[1])
    return None
