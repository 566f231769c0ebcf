"""What came of vectors, as rows of words: struct vector_outcome in cases/lib/transition.h."""

from __future__ import annotations

import numpy as np

from difftest.sweeping.vectors import U64

STATUS, EIP, CR0_AFTER, CR4_AFTER, EFER_AFTER, CR3_AFTER, PROBES, HIGH = range(8)
NAMES = ("status", "eip", "cr0", "cr4", "efer", "cr3", "pdptes", "high_halves")
TAKEN = 1 << 31
DIED = 1 << 32  # a status that no image leaves: the machine ended in this vector, or never came back from it
NOT_ASKED = 1 << 33
PROBE_FAULT = 0x8000
_EXCEPTIONS = {6: "#UD", 8: "#DF", 12: "#SS", 13: "#GP", 14: "#PF", 17: "#AC"}
_PROBED = {0: "-", 1: "the entry loaded before", 2: "the entry in memory", 3: "elsewhere"}


def died(count: int = 1) -> U64:
    """Rows of vectors that ended the machine."""
    rows = np.zeros((count, len(NAMES)), dtype=np.uint64)
    rows[:, STATUS] = DIED
    return rows


def class_of(row: U64) -> str:
    """How a vector ended, in a word."""
    status = int(row[STATUS])
    if status == DIED:
        return "died"
    if not status & TAKEN:
        return "executed"
    vector = status >> 16 & 0xFF
    name = _EXCEPTIONS.get(vector, f"exception {vector}")
    code = f"({status & 0xFFFF:#x})" if status & 0xFFFF or vector in (13, 14) else ""
    # An exception elsewhere than at the instruction: the state could not be reached, or did not hold.
    return f"{name}{code.replace('0x0', '0')}" + (" elsewhere" if int(row[EIP]) else "")


def fields_of(row: U64) -> dict[str, str]:
    """The rest of an outcome by name, in the words of a report."""
    found = {name: f"{int(row[place]):#x}" for place, name in enumerate(NAMES) if place > EIP and place != PROBES}
    probes = int(row[PROBES])
    for entry in range(4):
        seen = probes >> 16 * entry & 0xFFFF
        if seen:
            fault = f"{_EXCEPTIONS.get(seen >> 8 & 0x7F, '?')}({seen & 0xFF:#x})" if seen & PROBE_FAULT else ""
            found[f"pdpte_{entry}"] = fault or _PROBED.get(seen, f"{seen:#x}")
    return found


def digests(rows: U64) -> U64:
    """The 64-bit digest of each row, as guest/sweep.c makes it; a vector's byte is its highest."""
    total = np.zeros(len(rows), dtype=np.uint64)
    for place in range(len(NAMES)):
        total = mixed(total, rows[:, place])
    return mixed(total, np.zeros_like(total))


def mixed(total: U64, word: U64) -> U64:
    total = (total ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return total ^ total >> np.uint64(29)
