"""Where a check's code begins in an image of the kit, found by the table of the checks that the image has."""

from __future__ import annotations

import struct
from collections.abc import Iterator

LOADED_AT, BOOT_SECTOR = 0x10000, 512  # where kit.ld puts what follows the boot sector
LARGEST = 0x70000  # bytes of that
ENTRY = struct.Struct("<III")  # struct check: the address of its id, what it needs, the address of its function
MOST_NEEDS = 16


def body_of(image: bytes, check: str) -> int | None:
    """The address of the first instruction of a check; None for an image without that check."""
    kit = image[BOOT_SECTOR : BOOT_SECTOR + LARGEST]
    for place in _places(kit, check.encode() + b"\0"):
        for at in _places(kit, struct.pack("<I", LOADED_AT + place)):
            if at % 4 or at + ENTRY.size > len(kit):
                continue
            _, needs, body = ENTRY.unpack_from(kit, at)
            if needs < MOST_NEEDS and LOADED_AT <= body < LOADED_AT + len(kit):
                return int(body)
    return None


def _places(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)
