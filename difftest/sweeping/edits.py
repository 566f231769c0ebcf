"""A vector as its base state and what was changed of it, so that changes can be taken back one by one."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from difftest.sweeping.generate import u64
from difftest.sweeping.table import TABLE, WORDS
from difftest.sweeping.vectors import CR3_LOW, OPERAND, OTHER_TABLE, PDPTES, Vectors

STATE = ("cr0", "cr4", "efer")
_OF_OP = {"mov-cr0": "cr0", "lmsw": "cr0", "mov-cr4": "cr4", "wrmsr-efer": "efer"}
_INSTRUCTIONS = {
    "mov-cr0": "MOV to CR0",
    "mov-cr4": "MOV to CR4",
    "mov-cr3": "MOV to CR3",
    "wrmsr-efer": "WRMSR of IA32_EFER",
    "lmsw": "LMSW",
    "clts": "CLTS",
}


class Edits(msgspec.Struct, frozen=True):
    """`changes` are masks of bits: those that the state has beyond its base ("cr0", "cr4", "efer", "cr3_low"), those of
    the operand that differ from what the register has ("operand"), and those by which PDPTEs differ from plain ones.
    """

    family: int
    base: int
    op: int
    changes: dict[str, int]

    @property
    def instruction(self) -> str:
        return _INSTRUCTIONS[self.op_name]

    @property
    def op_name(self) -> str:
        return next(name for name, number in TABLE.ops.items() if number == self.op)

    @property
    def count(self) -> int:
        """The number of bits that are changed."""
        return sum(mask.bit_count() for mask in self.changes.values())

    def smaller(self) -> Iterator[Edits]:
        """The same with less: each word's changes away, each half of them, each single bit."""
        for name, mask in self.changes.items():
            bits = [1 << place for place in range(64) if mask >> place & 1]
            half = len(bits) // 2
            parts = [bits, bits[:half], bits[half:], *([bit] for bit in bits)]
            for part in {sum(one) for one in parts if one}:
                yield self.without(name, part)

    def without(self, name: str, bits: int) -> Edits:
        left = self.changes[name] & ~bits
        changes = {**self.changes, name: left} if left else {k: v for k, v in self.changes.items() if k != name}
        return msgspec.structs.replace(self, changes=changes)

    def vector(self) -> Vectors:
        """The vector that it stands for."""
        words = np.zeros((WORDS, 1), dtype=np.uint64)
        for place, (name, plain) in enumerate(zip(STATE, TABLE.state(self.base), strict=True)):
            words[place] = u64(plain | self.changes.get(name, 0))
        words[CR3_LOW] = u64(self.changes.get("cr3_low", 0))
        register = _OF_OP.get(self.op_name)
        held = int(words[STATE.index(register)][0]) if register else 0
        operand = held ^ self.changes.get("operand", 0)
        words[OPERAND] = u64(operand & 0xFFFF if self.op_name == "lmsw" else operand)
        if self.family == TABLE.families["pdpte-loads"]:
            for entry in range(4):
                words[PDPTES + entry] = u64(1 ^ self.changes.get(f"pdpte{entry}", 0))
        number = np.array([self.base], dtype=np.uint64), np.array([self.op], dtype=np.uint64)
        return Vectors(*number, words)

    @property
    def valid(self) -> bool:
        """Whether the state can be reached: NW needs CD."""
        cr0 = self.changes.get("cr0", 0)
        return not cr0 >> TABLE.cr0["NW"] & 1 or bool(cr0 >> TABLE.cr0["CD"] & 1)

    def sentence(self) -> str:
        """The vector in words: the state, then the instruction."""
        parts = [TABLE.base[self.base].name]
        for name in STATE:
            if self.changes.get(name, 0):
                parts.append(f"{_register(name)}.{_bits(name, self.changes[name])} set")
        if self.changes.get("cr3_low", 0):
            parts.append(f"CR3[11:0]={self.changes['cr3_low']:#x}")
        for entry in range(4):
            if mask := self.changes.get(f"pdpte{entry}", 0):
                parts.append(f"PDPTE {entry} in memory {_entry(mask)}")
        return f"{', '.join(parts)}: {self.instruction}{self._operand_words()}"

    def _operand_words(self) -> str:
        flipped = self.changes.get("operand", 0)
        register = _OF_OP.get(self.op_name)
        if register is None:
            return f" with bits {flipped:#x}" if flipped else ""
        held = int(self.vector().words[STATE.index(register)][0])
        sets, clears = _bits(register, flipped & ~held), _bits(register, flipped & held)
        words = [f"sets {sets}"] if flipped & ~held else []
        words += [f"clears {clears}"] if flipped & held else []
        return f" that {' and '.join(words)}" if words else " of the value that it has"


def edits_of(family: int, vectors: Vectors, place: int) -> Edits:
    """The opposite of `Edits.vector`."""
    words = [int(word) for word in vectors.words[:, place]]
    base, op = int(vectors.base[place]), int(vectors.op[place])
    plain = TABLE.state(base)
    changes = {name: words[at] & ~plain[at] for at, name in enumerate(STATE)}
    changes["cr3_low"] = words[CR3_LOW]
    op_name = next(name for name, number in TABLE.ops.items() if number == op)
    register = _OF_OP.get(op_name)
    held = words[STATE.index(register)] if register else 0
    changes["operand"] = words[OPERAND] ^ (held & 0xFFFF if op_name == "lmsw" else held)
    if family == TABLE.families["pdpte-loads"]:
        changes |= {f"pdpte{entry}": words[PDPTES + entry] ^ 1 for entry in range(4)}
    return Edits(family=family, base=base, op=op, changes={name: mask for name, mask in changes.items() if mask})


def _register(name: str) -> str:
    return "IA32_EFER" if name == "efer" else name.upper()


def _bits(register: str, mask: int) -> str:
    """The bits of a register by name."""
    places: dict[int, str] = {place: name for name, place in getattr(TABLE, register).items()}
    names = [places.get(place, f"bit {place}") for place in range(64) if mask >> place & 1]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _entry(mask: int) -> str:
    words = ["not present"] if mask & 1 else []
    words += ["of another table"] if mask & OTHER_TABLE else []
    words += [f"with bit {place}" for place in range(1, 64) if (mask & ~OTHER_TABLE) >> place & 1]
    return " ".join(words)
