"""Vectors as columns: a state that L1 is brought to and one instruction in it, many at once."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from difftest.sweeping.table import WORDS

U64: TypeAlias = npt.NDArray[np.uint64]
LAYOUT = struct.Struct(f"<II{WORDS}Q")  # struct vector in cases/lib/vector.h
CR0, CR4, EFER, OPERAND, CR3_LOW, PDPTES = range(6)  # words; four PDPTEs from the last on
OTHER_TABLE = 0x1000  # the address in a PDPTE that means another table than the one loaded before


class VectorFacts(msgspec.Struct, frozen=True):
    """What CPUs support: one CPU, or what two of them have in common, with what only one of them supports excluded."""

    cr4_supported: int
    efer_supported: int
    physical_address_bits: int
    cr4_excluded: int = 0
    efer_excluded: int = 0

    def shared_with(self, other: VectorFacts) -> VectorFacts:
        return VectorFacts(
            cr4_supported=self.cr4_supported & other.cr4_supported,
            efer_supported=self.efer_supported & other.efer_supported,
            physical_address_bits=max(self.physical_address_bits, other.physical_address_bits),
            cr4_excluded=self.cr4_supported ^ other.cr4_supported,
            efer_excluded=self.efer_supported ^ other.efer_supported,
        )


class Vectors:
    """`base` and `op` have a number for each vector, `words` a row of words by its place."""

    def __init__(self, base: U64, op: U64, words: U64) -> None:
        self.base = base
        self.op = op
        self.words = words

    def __len__(self) -> int:
        return len(self.base)

    def take(self, places: Sequence[int] | npt.NDArray[np.intp]) -> Vectors:
        return Vectors(self.base[places], self.op[places], self.words[:, places])

    def packed(self) -> bytes:
        """As the image has them."""
        rows = zip(self.base.tolist(), self.op.tolist(), self.words.T.tolist(), strict=True)
        return b"".join(LAYOUT.pack(base, op, *words) for base, op, words in rows)


class Pattern(msgspec.Struct, frozen=True):
    """Vectors of a base state and an instruction whose words have these bits."""

    base: int
    op: int
    mask: list[int]
    value: list[int]

    def fits(self, vectors: Vectors) -> npt.NDArray[np.bool_]:
        fits = (vectors.base == self.base) & (vectors.op == self.op)
        for at, (mask, value) in enumerate(zip(self.mask, self.value, strict=True)):
            fits &= (vectors.words[at] ^ np.uint64(value)) & np.uint64(mask) == 0
        return np.asarray(fits, dtype=np.bool_)

    def packed(self) -> bytes:
        """As the image has it: struct vector_pattern."""
        return struct.pack(f"<II{2 * WORDS}Q", self.base, self.op, *self.mask, *self.value)


def pattern_of(vectors: Vectors) -> Pattern:
    """What vectors of one base state and instruction have in common."""
    first = vectors.words[:, :1]
    mask = ~np.bitwise_or.reduce(vectors.words ^ first, axis=1)
    value = first[:, 0] & mask
    return Pattern(int(vectors.base[0]), int(vectors.op[0]), mask.tolist(), value.tolist())


def unpacked(data: bytes) -> Vectors:
    """The opposite of `Vectors.packed`."""
    rows = list(LAYOUT.iter_unpack(data))
    table = np.array(rows, dtype=np.uint64).reshape(len(rows), WORDS + 2)
    return Vectors(table[:, 0], table[:, 1], np.ascontiguousarray(table[:, 2:].T))


def joined(parts: Sequence[Vectors]) -> Vectors:
    return Vectors(
        np.concatenate([part.base for part in parts]),
        np.concatenate([part.op for part in parts]),
        np.concatenate([part.words for part in parts], axis=1),
    )
