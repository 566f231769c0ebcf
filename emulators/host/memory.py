"""A guest's RAM as it lies in the process of its emulator, read from outside: neither of the two notices."""

from __future__ import annotations

import array
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
# Of an entry of /proc/PID/pagemap (proc(5)): the page is there. Others read as zeros, and reading would make them.
PRESENT = 1 << 63
AT_ONCE = 256  # pages read together
# Where a BIOS counts the timer's ticks, in guest-physical memory: they count on whatever the guest does.
TICKS, TICKS_BYTES = 0x46C, 5
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.p 0+ 00:00 0 *$", re.MULTILINE)


def ram_address(pid: int, size: int) -> int:
    """Where the guest's RAM of so many bytes begins in a QEMU, which has a mapping for it alone. Raises OSError."""
    return min(_mappings(pid, size))[1]


def ram_address_by(pid: int, size: int, first_page: bytes) -> int:
    """The same in a Bochs, where the RAM is part of a larger mapping, by what is in its first page at this moment.

    Raises OSError when that page is not there, or there twice.
    """
    found = []
    for length, begin in _mappings(pid, size):
        for first, data in _present(pid, begin, length):
            found += [
                begin + first * PAGE + at for at in range(0, len(data), PAGE) if data[at : at + PAGE] == first_page
            ]
    if len(found) != 1:
        raise OSError(f"the first page of the guest's RAM is {len(found)} times in process {pid}")
    return found[0]


def ram_digest(pid: int, address: int, size: int) -> bytes:
    """A hash of the guest's RAM at this address of the process, without the BIOS' count of ticks. Raises OSError."""
    digest = hashlib.sha256()
    for first, data in _present(pid, address, size):
        if first == 0:
            data = data[:TICKS] + data[TICKS + TICKS_BYTES :]
        digest.update(b"%d " % first + data)
    return digest.digest()


def _mappings(pid: int, size: int) -> list[tuple[int, int]]:
    """The anonymous mappings of at least so many bytes: their sizes, and where they begin. Raises OSError when there is
    none.
    """
    mappings = [(int(end, 16) - int(begin, 16), int(begin, 16)) for begin, end in MAPPING.findall(_maps(pid))]
    fitting = [mapping for mapping in mappings if mapping[0] >= size]
    if not fitting:
        raise OSError(f"process {pid} has no mapping of {size} bytes")
    return fitting


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _present(pid: int, address: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The pages that are there from this address on: runs of them, the number of the first and their bytes."""
    with (
        Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap,
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory,
    ):
        entries = array.array("Q", os.pread(pagemap.fileno(), size // PAGE * 8, address // PAGE * 8))
        for first, count in _runs(entries):
            yield first, os.pread(memory.fileno(), count * PAGE, address + first * PAGE)


def _runs(entries: array.array[int]) -> Iterator[tuple[int, int]]:
    """The pages that are there, as runs of at most AT_ONCE: the first and how many."""
    first = None
    for number, entry in enumerate(entries):
        if entry & PRESENT:
            if first is None:
                first = number
            if number + 1 - first == AT_ONCE:
                yield first, AT_ONCE
                first = None
        elif first is not None:
            yield first, number - first
            first = None
    if first is not None:
        yield first, len(entries) - first
