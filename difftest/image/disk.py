"""Disk sizes that every target boots."""

from __future__ import annotations

CYLINDER = 16 * 63 * 512  # bytes; Bochs wants whole cylinders, so both sides get the same padding


def whole_cylinders(size: int) -> int:
    """The least size of whole cylinders, and at least one, that holds `size` bytes."""
    return max(1, -(-size // CYLINDER)) * CYLINDER
