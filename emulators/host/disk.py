"""The sizes of hard disks."""

from __future__ import annotations

CYLINDER = 16 * 63 * 512  # bytes; Bochs cuts off a disk that is no whole number of cylinders


def whole_cylinders(size: int) -> int:
    """The least size of whole cylinders, and at least one, that holds `size` bytes."""
    return max(1, -(-size // CYLINDER)) * CYLINDER
