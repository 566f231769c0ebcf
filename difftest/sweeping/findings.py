"""Differing vectors: judged by the model, and sorted by signature. Pure: rows in, findings out."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from difftest.sweeping.edits import Edits, edits_of
from difftest.sweeping.model import Expectation, expect
from difftest.sweeping.outcomes import NAMES, class_of, fields_of
from difftest.sweeping.table import TABLE
from difftest.sweeping.vectors import U64, VectorFacts, Vectors


class Opinion(enum.StrEnum):
    """What the model says of a vector on two sides."""

    AGREE = "agree"
    KVM_WRONG = "KVM wrong"
    CPU_WRONG = "Bochs wrong"  # the CPU under KVM
    BOTH_WRONG = "both wrong"
    PERMITTED = "permitted"  # they differ, and the SDM allows both
    REVIEW = "equal, but not what the model allows"  # the model is wrong, or both sides are: never a finding

    @property
    def finding(self) -> bool:
        return self in (Opinion.KVM_WRONG, Opinion.CPU_WRONG, Opinion.BOTH_WRONG)


class VectorSide(msgspec.Struct, frozen=True):
    """What one side made of a vector, in words."""

    ending: str
    fields: dict[str, str]


class Signature(msgspec.Struct, frozen=True):
    """What a kind of difference is known by."""

    family: str
    op: str
    opinion: Opinion
    broken: tuple[str, ...]  # the rules that the vector violates
    endings: tuple[str, str, str]  # of the CPU under KVM, of KVM, and what the SDM requires
    fields: tuple[str, ...]  # in which the wrong sides differ from that

    @property
    def name(self) -> str:
        """Short, and the same for the same signature."""
        import hashlib

        digest = hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:6]
        return f"{self.op}-{digest}"


class SweepFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A signature with a vector that shows it."""

    signature: Signature
    count: int  # of the vectors asked in full
    first: int  # the lowest number of a vector that shows it
    numbers: tuple[int, ...]  # some vectors that show it
    edits: Edits  # of the one that is shown; small once minimised
    cpu: VectorSide
    kvm: VectorSide
    sdm: VectorSide

    @property
    def sentence(self) -> str:
        says = f"SDM: {self.sdm.ending}; Bochs: {self.cpu.ending}; KVM: {self.kvm.ending}"
        names = sorted({name for side in (self.sdm, self.cpu, self.kvm) for name in side.fields})
        different = [
            f"{name} {' / '.join(side.fields.get(name, '-') for side in (self.sdm, self.cpu, self.kvm))}"
            for name in names
            if any(name.startswith(field.removesuffix("s")) for field in self.signature.fields)
            and len({side.fields.get(name) for side in (self.sdm, self.cpu, self.kvm)}) > 1
        ]
        return f"{self.edits.sentence()}. {says}." + (f" {'; '.join(different)}." if different else "")


def opinions(expected: Expectation, cpu: U64, kvm: U64) -> list[Opinion]:
    """What the model says of each vector."""
    equal = np.all(cpu == kvm, axis=1)
    right_cpu, right_kvm = expected.allows(cpu), expected.allows(kvm)
    return [
        (Opinion.AGREE if good else Opinion.REVIEW)
        if same
        else {
            (True, True): Opinion.PERMITTED,
            (True, False): Opinion.KVM_WRONG,
            (False, True): Opinion.CPU_WRONG,
            (False, False): Opinion.BOTH_WRONG,
        }[bool(good), bool(other)]
        for same, good, other in zip(equal, right_cpu, right_kvm, strict=True)
    ]


def signatures(
    family: str, vectors: Vectors, facts: VectorFacts, cpu: U64, kvm: U64
) -> list[tuple[Signature, VectorSide, VectorSide, VectorSide]]:
    """The signature of each vector, and its sides: the CPU under KVM, KVM, the SDM."""
    expected = expect(TABLE.families[family], vectors, facts)
    judged = opinions(expected, cpu, kvm)
    ops = {number: name for name, number in TABLE.ops.items()}
    found = []
    for place, opinion in enumerate(judged):
        rows = cpu[place], kvm[place], expected.rows[place]
        sides = tuple(VectorSide(ending=class_of(row), fields=fields_of(row)) for row in rows)
        wrong = [row for row in rows[:2] if np.any((row ^ rows[2]) & ~expected.open_[place])]
        # A row that died, or faulted where nothing must, differs in all that follows from it.
        same_class = [row for row in wrong if class_of(row) == sides[2].ending]
        fields = [
            name
            for at, name in enumerate(NAMES)
            if any((int(row[at]) ^ int(rows[2][at])) & ~int(expected.open_[place][at]) for row in same_class)
        ]
        if "pdptes" in fields:
            fields.remove("pdptes")
            fields += [
                name
                for name in (f"pdpte_{entry}" for entry in range(4))
                if any(fields_of(row).get(name) != sides[2].fields.get(name) for row in same_class)
            ]
        signature = Signature(
            family=family,
            op=ops[int(vectors.op[place])],
            opinion=opinion,
            broken=expected.names(place),
            endings=(sides[0].ending, sides[1].ending, sides[2].ending),
            fields=("pdptes",) if any(name.startswith("pdpte") for name in fields) else tuple(fields),
        )
        found.append((signature, *sides))
    return found  # type: ignore[return-value]


def grouped(
    family: str, vectors: Vectors, numbers: Sequence[int], facts: VectorFacts, cpu: U64, kvm: U64
) -> dict[Signature, SweepFinding]:
    """One finding for each signature; the vector shown is the one with the fewest changes."""
    found: dict[Signature, SweepFinding] = {}
    for place, (signature, *sides) in enumerate(signatures(family, vectors, facts, cpu, kvm)):
        edits = edits_of(TABLE.families[family], vectors, place)
        known = found.get(signature)
        number = numbers[place]
        if known is None:
            found[signature] = SweepFinding(
                signature=signature, count=1, first=number, numbers=(number,), edits=edits,
                cpu=sides[0], kvm=sides[1], sdm=sides[2],
            )  # fmt: skip
            continue
        changed = {"count": known.count + 1, "first": min(known.first, number)}
        if len(known.numbers) < 16:
            changed["numbers"] = (*known.numbers, number)  # type: ignore[assignment]
        known = msgspec.structs.replace(known, **changed)
        if edits.count < known.edits.count:
            known = msgspec.structs.replace(known, edits=edits, cpu=sides[0], kvm=sides[1], sdm=sides[2])
        found[signature] = known
    return found


def chosen(vectors: Vectors, expected: Expectation, most: int) -> npt.NDArray[np.intp]:
    """Which of many differing vectors to ask in full: as many kinds as there are (base, instruction, rules violated),
    round after round.
    """
    kinds: dict[tuple[int, int, int], list[int]] = {}
    for place in range(len(vectors)):
        kind = int(vectors.base[place]), int(vectors.op[place]), int(expected.broken[place])
        kinds.setdefault(kind, []).append(place)
    order = [
        place for turn in range(max(map(len, kinds.values()), default=0)) for places in kinds.values()
        for place in places[turn : turn + 1]
    ]  # fmt: skip
    return np.array(sorted(order[:most]), dtype=np.intp)
