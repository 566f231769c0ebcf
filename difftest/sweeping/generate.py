"""Which vector a number stands for, with the same steps as cases/lib/vector.c: any vector is made again from its
family, the generator's version, the seed, its number, and the facts.
"""

from __future__ import annotations

import numpy as np

from difftest.sweeping.table import BITS_32, BITS_64, COMPATIBILITY, PAE, TABLE, UNPAGED_PAE, WORDS
from difftest.sweeping.vectors import CR0, CR3_LOW, CR4, EFER, OPERAND, OTHER_TABLE, PDPTES, U64, VectorFacts, Vectors

LOW_HALF = np.uint64(0xFFFFFFFF)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
OPS = TABLE.ops
TRANSITION_OPS = [OPS[name] for name in ("mov-cr0", "mov-cr4", "wrmsr-efer", "mov-cr0", "mov-cr4", "lmsw", "clts")]
LOAD_BASES = [UNPAGED_PAE, BITS_32, PAE, PAE, PAE, PAE, PAE, PAE]
LOAD_OPS = [OPS[name] for name in ("mov-cr0", "mov-cr0", "mov-cr4", "mov-cr4", "mov-cr3", "lmsw", "clts", "wrmsr-efer")]


def u64(value: int) -> np.uint64:
    return np.uint64(value & 0xFFFFFFFFFFFFFFFF)


class Source:
    """Words of random bits by number, for each vector: SplitMix64 of a counter."""

    def __init__(self, family: int, seed: int, numbers: U64) -> None:
        self._key = u64(seed + (family + 1) * 0xD1B54A32D192ED03) + numbers * u64(0xA24BAED4963EE407)

    def word(self, number: int) -> U64:
        mixed = self._key + u64((number + 1) * 0x9E3779B97F4A7C15)
        mixed = (mixed ^ mixed >> u64(30)) * u64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ mixed >> u64(27)) * u64(0x94D049BB133111EB)
        return mixed ^ mixed >> u64(31)


def vectors(family: int, seed: int, first: int, count: int, facts: VectorFacts) -> Vectors:
    """The vectors from number `first` on."""
    return vectors_of(family, seed, np.arange(first, first + count, dtype=np.uint64), facts)


def vectors_of(family: int, seed: int, numbers: U64, facts: VectorFacts) -> Vectors:
    source = Source(family, seed, numbers)
    words = np.zeros((WORDS, len(numbers)), dtype=np.uint64)
    choice = source.word(0)
    if family == TABLE.families["transitions"]:
        base = _below(choice, len(TABLE.base))
        op = np.array(TRANSITION_OPS, dtype=np.uint64)[_below(choice >> u64(16), len(TRANSITION_OPS))]
        made = Vectors(base, op, words)
        _state(made, source, facts)
        _operand(made, source, facts)
        return made
    base = np.array(LOAD_BASES, dtype=np.uint64)[_below(choice, len(LOAD_BASES))]
    op = np.array(LOAD_OPS, dtype=np.uint64)[_below(choice >> u64(16), len(LOAD_OPS))]
    op = np.where(base == UNPAGED_PAE, OPS["mov-cr0"], np.where(base == BITS_32, OPS["mov-cr4"], op)).astype(np.uint64)
    made = Vectors(base, op, words)
    _state(made, source, facts)
    _operand(made, source, facts)
    words[OPERAND] |= np.where(base == UNPAGED_PAE, u64(1 << TABLE.cr0["PG"]), u64(0))
    words[OPERAND] |= np.where(base == BITS_32, u64(1 << TABLE.cr4["PAE"]), u64(0))
    _pdptes(made, source, facts)
    return made


def pinned(op: U64) -> U64:
    """The PDPTE that maps the running code."""
    return np.where(op == OPS["mov-cr4"], u64(3), u64(0))


def reserved_bits(facts: VectorFacts) -> int:
    """Of a present PDPTE."""
    return (~((1 << facts.physical_address_bits) - 1) & 0xFFFFFFFFFFFFFFFF) | 0x1E6


def _state(made: Vectors, source: Source, facts: VectorFacts) -> None:
    words, base = made.words, made.base.astype(np.intp)
    states = np.array([TABLE.state(number) for number in range(len(TABLE.base))], dtype=np.uint64)
    free = {name: TABLE.bits(name, TABLE.free[name]) for name in ("cr0", "cr4", "efer")}
    choice = source.word(1)
    cr0 = states[base, CR0] | (_dense(choice, source.word(2)) & u64(free["cr0"]))
    cr0 = np.where(cr0 & u64(1 << TABLE.cr0["CD"]), cr0, cr0 & ~u64(1 << TABLE.cr0["NW"]))
    pcide = u64(1 << TABLE.cr4["PCIDE"])
    cr4 = states[base, CR4] | (_dense(choice >> u64(2), source.word(3)) & u64(free["cr4"] & facts.cr4_supported))
    cr4 = np.where(base >= COMPATIBILITY, cr4, cr4 & ~pcide)
    words[CR0], words[CR4] = cr0, cr4
    more = _dense(choice >> u64(4), source.word(4)) & u64(free["efer"] & facts.efer_supported)
    words[EFER] = states[base, EFER] | more
    low = ((choice >> u64(6) & u64(3)) == 0) & ((cr4 & pcide) == 0)
    words[CR3_LOW] = np.where(low, choice >> u64(8) & u64(0x18), u64(0))


def _operand(made: Vectors, source: Source, facts: VectorFacts) -> None:
    words, op = made.words, made.op
    cr4_free, efer_free = u64(~facts.cr4_excluded), u64(~facts.efer_excluded)
    universe = np.where(_below(source.word(8), 16) < 12, LOW_HALF, ALL)
    universe = np.where((made.base != BITS_64) & (op != OPS["wrmsr-efer"]), LOW_HALF, universe)
    by_op = [op == OPS[name] for name in ("mov-cr0", "mov-cr4", "wrmsr-efer", "lmsw", "mov-cr3")]
    few = u64(0x1F)
    universe = np.select(by_op, [universe, universe & cr4_free, universe & efer_free, u64(0xFFFF), few], u64(0))
    named = [TABLE.bits(name) for name in ("cr0", "cr4", "efer")]
    defined = np.select(
        by_op, [u64(named[0]), u64(named[1]) & cr4_free, u64(named[2]) & efer_free, u64(0xF), few], u64(0)
    )
    current = np.select(by_op, [words[CR0], words[CR4], words[EFER], words[CR0], u64(0)], u64(0))
    operand = current ^ _flips(source, 9, universe, defined)
    words[OPERAND] = np.select(
        [op == OPS["lmsw"], op == OPS["clts"]], [operand & u64(0xFFFF), np.zeros_like(operand)], operand
    )


def _pdptes(made: Vectors, source: Source, facts: VectorFacts) -> None:
    words, fixed = made.words, pinned(made.op)
    tables = source.word(16)
    for number in range(4):
        other = (fixed != number) & ((tables >> u64(number) & u64(1)) == 1)
        words[PDPTES + number] = u64(1) | np.where(other, u64(OTHER_TABLE), u64(0))
    edits = tables >> u64(8) & u64(3)
    bits = reserved_bits(facts) | 0xFFE
    for edit in range(3):
        place = source.word(17 + edit)
        entry = place >> u64(32) & u64(3)
        mask = np.where(entry == fixed, u64(bits), u64(bits | 1))
        flipped = np.where(edits > edit, _one_of(mask, place), u64(0))
        for number in range(4):
            words[PDPTES + number] ^= np.where(entry == number, flipped, u64(0))


def _flips(source: Source, first: int, universe: U64, defined: U64) -> U64:
    mix = _below(source.word(first), 100)
    count = np.select([mix < 40, mix < 60, mix < 70], [1, 2, 3], 0)
    flipped = np.zeros_like(universe)
    for turn in range(3):
        one = _one_of(universe, source.word(first + 2 + turn))
        flipped |= np.where(count > turn, one, u64(0))
    return np.where(mix >= 80, source.word(first + 1) & defined, flipped)


def _below(word: U64, bound: int) -> U64:
    return (word & u64(0xFFFF)) % u64(bound)


def _dense(choice: U64, word: U64) -> U64:
    kind = choice & u64(3)
    return np.where(kind == 0, u64(0), np.where(kind == 1, ALL, word))


def _one_of(mask: U64, word: U64) -> U64:
    """One of the bits of each mask; 0 where it has none."""
    bits = [(mask >> u64(bit)) & u64(1) for bit in range(64)]
    count = np.sum(bits, axis=0, dtype=np.uint64)
    wanted = (word & u64(0xFFFF)) % np.maximum(count, u64(1))
    found, seen = np.zeros_like(mask), np.zeros_like(mask)
    for number, bit in enumerate(bits):
        hit = (bit == 1) & (seen == wanted)
        found |= np.where(hit, u64(1 << number), u64(0))
        seen += bit
    return found
