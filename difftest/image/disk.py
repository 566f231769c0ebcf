"""The padding of an image: the size that each kind of it has on every target."""

from __future__ import annotations

from pathlib import Path

from difftest.image.kind import KERNELS, Kind, floppy_bytes
from difftest.image.medium import ISO_SECTOR, SECTOR
from emulators.host.disk import whole_cylinders

# Bytes of the disk of a kernel at least: a snapshot of KVM is of one size of disk, so that small kernels share one.
LEAST_KERNEL_DISK = 4 << 20


def padded_bytes(image: Path, kind: Kind) -> int:
    """The size that an image of this kind is to have: of whole sectors of a CD, of a floppy, of whole cylinders."""
    size = max(image.stat().st_size, LEAST_KERNEL_DISK if kind in KERNELS else 0)
    if kind == Kind.CDROM:
        return -(-size // ISO_SECTOR) * ISO_SECTOR
    if kind == Kind.FLOPPY:
        with image.open("rb") as file:
            return floppy_bytes(file.read(SECTOR), size)
    return whole_cylinders(size)
