"""The RAM log: lines that an image of the kit leaves in its memory instead of sending them through a serial port.

A byte on COM1 is a VM exit to QEMU, some 16 thousand instructions of an emulated L0; a byte in RAM costs nothing. The
log lies at a fixed physical address, so that it can still be read when the guest died: a header (magic, bytes written
so far, little-endian), then the lines.
"""

from __future__ import annotations

import struct

import msgspec

MAGIC = b"DIFFTEST-RAMLOG\0"
HEADER = struct.Struct("<16sI")


class RamLog(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log lies: its physical address, and the most bytes of lines that fit in after its header."""

    address: int
    most: int

    @property
    def lines(self) -> int:
        """The physical address of the first line."""
        return self.address + HEADER.size

    def length(self, header: bytes) -> int:
        """The bytes of lines that a header announces. 0 when the guest never started the log, or wrote over its
        header.
        """
        magic, written = HEADER.unpack(header)
        return written if magic == MAGIC and written <= self.most else 0
