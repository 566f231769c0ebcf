"""What a boot sector, a CD's boot record and a partition table say of the medium that an image is of."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from emulators.observation import FLOPPIES

SECTOR = 512
ISO_SECTOR = 2048
SIGNATURE = b"\x55\xaa"  # at the end of a boot sector
CODE = 440  # bytes of a boot sector that are code where it has a partition table
_TABLE = 446
_PROTECTIVE = 0xEE  # the partition type of a whole GPT
_FIXED_DISK = 0xF8  # the media descriptor of hard disks
_BOOTABLE = 0x88
_UEFI = 0xEF
_EMULATED = {1: "a 1.2M floppy", 2: "a 1.44M floppy", 3: "a 2.88M floppy", 4: "a hard disk"}


def bpb_bytes(head: bytes) -> int:
    """The size of the floppy that a FAT boot sector's BIOS parameter block describes; 0 where it has none."""
    if len(head) < SECTOR:
        return 0
    sector, cluster, reserved, fats, _, sectors, media = struct.unpack_from("<HBHBHHB", head, 0x0B)
    sound = sector == SECTOR and cluster in (1, 2, 4, 8) and reserved and fats in (1, 2) and media >= 0xF0
    return sectors * SECTOR if sound and media != _FIXED_DISK and sectors * SECTOR in FLOPPIES else 0


def partitions(head: bytes) -> list[tuple[int, int, int]]:
    """Type, first sector and sectors of each partition; empty where the boot sector has no partition table."""
    if head[SECTOR - 2 : SECTOR] != SIGNATURE:
        return []
    entries = [struct.unpack_from("<B3xB3xII", head, _TABLE + 16 * number) for number in range(4)]
    if any(status not in (0, 0x80) for status, *_ in entries):
        return []
    return [(kind, first, count) for _, kind, first, count in entries if kind and first and count]


def has_code(head: bytes) -> bool:
    """Whether there is anything in a boot sector that a BIOS could run."""
    return bool(head[:CODE].strip(b"\0"))


def disk_remarks(head: bytes, size: int) -> Iterator[str]:
    """What is odd about a disk of `size` bytes with this first sector, in sentences."""
    found = partitions(head)
    end = max((first + count for kind, first, count in found if kind != _PROTECTIVE), default=0) * SECTOR
    if end > size:
        yield (
            f"its partition table ends at {end} bytes, the file at {size}: the file is cut short, or the image was "
            "made of part of a disk"
        )
    if any(kind == _PROTECTIVE for kind, _, _ in found):
        yield "it has a GPT: what boots from it is the code in its first sector, as a BIOS does it"


def boot_catalog(image: bytes) -> tuple[int, int] | None:
    """Platform and emulated medium of the default entry of a CD's El Torito catalog, None where it cannot be read.
    `image` is the beginning of the CD.
    """
    (at,) = struct.unpack_from("<I", image, 17 * ISO_SECTOR + 0x47)
    catalog = image[at * ISO_SECTOR :][:64]
    if len(catalog) < 64 or catalog[0] != 1 or catalog[30:32] != SIGNATURE or catalog[32] != _BOOTABLE:
        return None
    return catalog[1], catalog[33] & 0xF


def boots_by_uefi_alone(image: bytes) -> bool:
    """Whether the default entry of a CD's boot catalog is for UEFI."""
    found = boot_catalog(image)
    return found is not None and found[0] == _UEFI


def cd_remarks(image: bytes) -> Iterator[str]:
    """What a user may want to know of a CD that boots, in sentences."""
    found = boot_catalog(image)
    if found is not None and found[1] in _EMULATED:
        yield f"its El Torito entry emulates {_EMULATED[found[1]]}, which the firmware does"
    if image[SECTOR - 2 : SECTOR] == SIGNATURE and has_code(image):
        yield "its first sector boots as a disk, too: --medium disk does that"
