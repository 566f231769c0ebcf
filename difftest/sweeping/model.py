"""The rules of the SDM for the families of L1, as a table that is executed on columns of vectors: where each rule
applies, and when it is violated. A violated rule means #GP(0), with all state as it was; else the instruction executes.

What the SDM leaves open of an outcome is a mask of bits that may be anything. The model knows nothing of any emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from difftest.sweeping import outcomes as out
from difftest.sweeping.generate import reserved_bits, u64
from difftest.sweeping.table import BITS_64, COMPATIBILITY, PAE, TABLE
from difftest.sweeping.vectors import CR0, CR3_LOW, CR4, EFER, OPERAND, OTHER_TABLE, PDPTES, U64, VectorFacts, Vectors

Mask: TypeAlias = npt.NDArray[np.bool_]
GP_0 = out.TAKEN | 13 << 16
CONTROL_REGISTERS = "Control Registers (Vol. 3, 2.5)"
MOV_TO_CR = "MOV - Move to/from Control Registers (Vol. 2)"
PAGING_MODES = "Paging-Mode Enabling (Vol. 3, 4.1.2)"
PCIDS = "Process-Context Identifiers (PCIDs) (Vol. 3, 4.10.1)"
EXTENDED_FEATURES = "Extended Feature Enable Register (Vol. 3, 2.2.1)"
PDPTE_REGISTERS = "PDPTE Registers (Vol. 3, 4.4.1)"


def _mask(value: npt.ArrayLike) -> Mask:
    return np.asarray(value, dtype=np.bool_)


class Situation:
    """Vectors, and what the rules ask of them. A CPU supports what its `facts` say."""

    def __init__(self, vectors: Vectors, facts: VectorFacts, *, loads: bool) -> None:
        """`loads`: the PDPTEs in memory are the vectors' own."""
        self.vectors = vectors
        self.facts = facts
        words = vectors.words
        self.cr0, self.cr4, self.operand = words[CR0], words[CR4], words[OPERAND]
        self.ia32e = vectors.base >= COMPATIBILITY
        self.efer = words[EFER] | np.where(self.ia32e, u64(1 << TABLE.efer["LMA"]), u64(0))
        self.to = {name: vectors.op == number for name, number in TABLE.ops.items()}
        self.new_cr0 = self._new_cr0()
        self.new_cr4 = np.where(self.to["mov-cr4"], self.operand, self.cr4)
        self.entries = [words[PDPTES + entry] if loads else np.full(len(vectors), 1, np.uint64) for entry in range(4)]

    def has(self, register: str, bit: str, value: U64) -> Mask:
        places: dict[str, int] = getattr(TABLE, register)
        return _mask((value >> u64(places[bit]) & u64(1)) == 1)

    def toggles(self, register: str, *bits: str) -> Mask:
        before, after = (self.cr0, self.new_cr0) if register == "cr0" else (self.cr4, self.new_cr4)
        return _mask(((before ^ after) & u64(TABLE.bits(register, list(bits)))) != 0)

    @property
    def loads_pdptes(self) -> Mask:
        """Whether the instruction, if no other rule is violated, loads the PDPTE registers."""
        pae = (
            self.has("cr0", "PG", self.new_cr0)
            & self.has("cr4", "PAE", self.new_cr4)
            & ~self.has("efer", "LME", self.efer)
        )
        by_cr0 = self.to["mov-cr0"] & self.toggles("cr0", "CD", "NW", "PG")
        by_cr4 = self.to["mov-cr4"] & self.toggles("cr4", "PAE", "PGE", "PSE", "SMEP")
        return _mask(pae & (by_cr0 | by_cr4 | self.to["mov-cr3"]))

    @property
    def reserved_entry(self) -> Mask:
        """Whether a present PDPTE in memory has a reserved bit."""
        reserved = u64(reserved_bits(self.facts))
        return _mask(np.any([((word & u64(1)) == 1) & ((word & reserved) != 0) for word in self.entries], axis=0))

    def _new_cr0(self) -> U64:
        """What CR0 becomes if nothing faults."""
        by_mov = (self.operand & u64(TABLE.bits("cr0"))) | u64(1 << TABLE.cr0["ET"])
        # LMSW loads PE, MP, EM and TS, and cannot clear PE.
        by_lmsw = (self.cr0 & ~u64(0xE)) | (self.operand & u64(0xF))
        by_clts = self.cr0 & ~u64(1 << TABLE.cr0["TS"])
        return np.select([self.to["mov-cr0"], self.to["lmsw"], self.to["clts"]], [by_mov, by_lmsw, by_clts], self.cr0)


class Rule(NamedTuple):
    """One rule of the SDM; a violation means #GP(0). `read`: its wording was read, and not only its gist known."""

    id: str
    sdm: str
    words: str
    applies: Callable[[Situation], Mask]
    violated: Callable[[Situation], Mask]
    read: bool = False


def _supported_cr4(one: Situation) -> Mask:
    return _mask((one.operand & ~u64(one.facts.cr4_supported)) != 0)


def _changes_lme(one: Situation) -> Mask:
    return _mask(one.has("efer", "LME", one.operand) != one.has("efer", "LME", one.efer))


def _to(op: str) -> Callable[[Situation], Mask]:
    return lambda one: one.to[op]


def _sets_pcide(one: Situation) -> Mask:
    return _mask(one.to["mov-cr4"] & one.has("cr4", "PCIDE", one.new_cr4) & ~one.has("cr4", "PCIDE", one.cr4))


RULES: tuple[Rule, ...] = (
    Rule("cr0-pg-without-pe", CONTROL_REGISTERS, "PG=1 with PE=0", _to("mov-cr0"),
         lambda one: one.has("cr0", "PG", one.operand) & ~one.has("cr0", "PE", one.operand)),
    Rule("cr0-nw-without-cd", CONTROL_REGISTERS, "NW=1 with CD=0", _to("mov-cr0"),
         lambda one: one.has("cr0", "NW", one.operand) & ~one.has("cr0", "CD", one.operand)),
    Rule("cr0-high-half", CONTROL_REGISTERS, "a bit above 31 set", _to("mov-cr0"),
         lambda one: (one.operand >> u64(32)) != 0),
    Rule("cr0-pg-lme-without-pae", PAGING_MODES, "PG set with LME=1 and CR4.PAE=0",
         lambda one: one.to["mov-cr0"] & ~one.has("cr0", "PG", one.cr0) & one.has("efer", "LME", one.efer),
         lambda one: one.has("cr0", "PG", one.operand) & ~one.has("cr4", "PAE", one.cr4)),
    Rule("cr0-pg-cleared-in-64-bit-mode", PAGING_MODES, "PG cleared in 64-bit mode",
         lambda one: one.to["mov-cr0"] & (one.vectors.base == BITS_64),
         lambda one: ~one.has("cr0", "PG", one.operand)),
    Rule("cr0-pg-cleared-with-pcide", PAGING_MODES, "PG cleared with CR4.PCIDE=1",
         lambda one: one.to["mov-cr0"] & one.has("cr4", "PCIDE", one.cr4),
         lambda one: ~one.has("cr0", "PG", one.operand)),
    Rule("cr4-reserved", CONTROL_REGISTERS, "a bit set that CPUID does not report", _to("mov-cr4"), _supported_cr4),
    Rule("cr4-pae-cleared-in-ia-32e-mode", PAGING_MODES, "PAE cleared in IA-32e mode",
         lambda one: one.to["mov-cr4"] & one.ia32e, lambda one: ~one.has("cr4", "PAE", one.operand)),
    Rule("cr4-la57-in-ia-32e-mode", PAGING_MODES, "LA57 changed in IA-32e mode",
         lambda one: one.to["mov-cr4"] & one.ia32e, lambda one: one.toggles("cr4", "LA57")),
    Rule("cr4-pcide-outside-ia-32e-mode", PCIDS, "PCIDE set outside IA-32e mode", _sets_pcide, lambda one: ~one.ia32e),
    Rule("cr4-pcide-with-pcid", PCIDS, "PCIDE set with CR3[11:0] other than 0",
         lambda one: _sets_pcide(one) & one.ia32e, lambda one: one.vectors.words[CR3_LOW] != 0),
    Rule("cr4-cet-without-wp", CONTROL_REGISTERS, "CET set with CR0.WP=0", _to("mov-cr4"),
         lambda one: one.has("cr4", "CET", one.operand) & ~one.has("cr0", "WP", one.cr0)),
    Rule("efer-reserved", EXTENDED_FEATURES, "a bit set that is reserved, or that CPUID does not report",
         _to("wrmsr-efer"),
         lambda one: (one.operand & ~u64(one.facts.efer_supported | 1 << TABLE.efer["LMA"])) != 0),
    Rule("efer-lme-with-paging", PAGING_MODES, "LME changed with CR0.PG=1",
         lambda one: one.to["wrmsr-efer"] & one.has("cr0", "PG", one.cr0), _changes_lme),
    Rule("pdpte-reserved", PDPTE_REGISTERS, "the PDPTEs loaded, one of them present with a reserved bit",
         lambda one: one.loads_pdptes, lambda one: one.reserved_entry),
)  # fmt: skip


class Expectation(msgspec.Struct, frozen=True):
    """What the SDM allows of each vector: a row of words, bits of it that are open, and the rules that are violated:
    a bit of `broken` for each of RULES.
    """

    rows: U64
    open_: U64
    broken: U64
    applies: U64

    def allows(self, rows: U64) -> Mask:
        return _mask(np.all(((rows ^ self.rows) & ~self.open_) == 0, axis=1))

    def names(self, place: int) -> tuple[str, ...]:
        return tuple(rule.id for bit, rule in enumerate(RULES) if int(self.broken[place]) >> bit & 1)


def expect(family: int, vectors: Vectors, facts: VectorFacts, rules: Sequence[Rule] = RULES) -> Expectation:
    """What the SDM allows on a CPU with these facts."""
    loads = family == TABLE.families["pdpte-loads"]
    one = Situation(vectors, facts, loads=loads)
    applies = np.zeros(len(vectors), dtype=np.uint64)
    broken = np.zeros(len(vectors), dtype=np.uint64)
    for bit, rule in enumerate(rules):
        where = rule.applies(one)
        applies |= np.where(where, u64(1 << bit), u64(0))
        broken |= np.where(where & rule.violated(one), u64(1 << bit), u64(0))
    refused = broken != 0
    rows = np.zeros((len(vectors), len(out.NAMES)), dtype=np.uint64)
    rows[:, out.STATUS] = np.where(refused, u64(GP_0), u64(0))
    rows[:, out.CR0_AFTER] = np.where(refused, one.cr0, one.new_cr0)
    rows[:, out.CR4_AFTER] = np.where(refused, one.cr4, one.new_cr4)
    rows[:, out.EFER_AFTER] = np.where(refused, one.efer, _new_efer(one))
    to_cr3 = one.to["mov-cr3"] & ~refused
    rows[:, out.CR3_AFTER] = np.where(to_cr3, one.operand, vectors.words[CR3_LOW])
    open_ = np.zeros_like(rows)
    # Bits 2:0 of CR3 are ignored; that they read as written is nowhere said.
    open_[:, out.CR3_AFTER] = np.where(to_cr3, u64(7), u64(0))
    if loads:
        rows[:, out.PROBES] = _probes(one, refused)
    return Expectation(rows=rows, open_=open_, broken=broken, applies=applies)


def _new_efer(one: Situation) -> U64:
    """IA32_EFER if nothing faults. A write leaves LMA alone; what changes it is CR0.PG with LME set."""
    lma = u64(1 << TABLE.efer["LMA"])
    written = np.where(one.to["wrmsr-efer"], (one.operand & ~lma) | (one.efer & lma), one.efer)
    active = one.has("cr0", "PG", one.new_cr0) & one.has("efer", "LME", written)
    by_paging = np.where(active, written | lma, written & ~lma)
    after: U64 = np.where(one.to["mov-cr0"], by_paging, written)
    return after


def _probes(one: Situation, refused: Mask) -> U64:
    """What each PDPTE translates to afterwards, where that is PAE paging."""
    after = np.where(refused, one.cr0, one.new_cr0), np.where(refused, one.cr4, one.new_cr4)
    pae = one.has("cr0", "PG", after[0]) & one.has("cr4", "PAE", after[1])
    pae &= ~one.has("efer", "LME", one.efer) & ((one.vectors.base == PAE) | ~refused)
    loaded = ~refused & one.loads_pdptes
    probes = np.zeros(len(one.vectors), dtype=np.uint64)
    for entry, word in enumerate(one.entries):
        absent = u64(out.PROBE_FAULT | 14 << 8)
        fresh = np.where((word & u64(1)) == 0, absent, np.where((word & u64(OTHER_TABLE)) != 0, u64(2), u64(1)))
        probes |= np.where(loaded, fresh, u64(1)) << u64(16 * entry)
    return np.where(pae, probes, u64(0))
