"""What judging gives: one Result per check and subject. Plain data, stored beside the observations."""

from __future__ import annotations

import enum

import msgspec

from difftest.case.manifest import KnownDivergence
from difftest.verdict import MEANINGS, Status, Verdict, label

BY_L0 = "L0 carried out"  # begins the hint of what a record of L0's exits says of a check


class Role(enum.StrEnum):
    """What a side is in a comparison."""

    REFERENCE = "reference"  # does what the SDM requires, until shown otherwise
    HOST_CPU = "host-cpu"  # the emulator that is the CPU under the subject, booted directly
    SUBJECT = "subject"  # what is tested


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a check on all sides. Text is safe to show (it went through difftest.text).

    `values` and `required` are by target name; a side that has no such field is absent. Each side has its own
    requirement, since one may depend on the CPU.
    """

    name: str
    values: dict[str, str] = {}
    required: dict[str, str] = {}
    compared: bool = True  # False: recorded only, the SDM leaves it undefined or it is volatile
    differs: bool = False  # between reference and subject, and not because their requirements do

    def broken(self, target: str) -> bool:
        """Whether this side does not do what the SDM requires of it."""
        return target in self.required and self.values.get(target) != self.required[target]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a result. `reason` says why there is no status, or why this one."""

    role: Role
    target: str
    implementation: str  # as a verdict names it
    status: Status
    reason: str = ""


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """What of a stored Result says who was wrong, without the evidence: it is read many times faster."""

    check: str
    sdm: str = ""
    summary: str = ""
    sides: list[Side]
    verdict: Verdict
    own: bool = False

    @property
    def reference(self) -> Side:
        return self.sides[0]

    @property
    def subject(self) -> Side:
        return self.sides[-1]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one check. `sides` has the reference first, the subject last, and between them the CPU under
    the subject where it was observed.
    """

    case: str
    check: str
    sdm: str = ""  # SDM section, title and number
    summary: str = ""
    sides: list[Side]
    verdict: Verdict
    reason: str  # one sentence: why this verdict
    hints: list[str] = []  # what else is to be considered before the verdict is claimed
    fields: list[Field] = []
    boots: str = ""  # "2/3": how many of the repeated boots showed this; empty when booted once
    known: KnownDivergence | None = None
    own: bool = False  # of one of the image's own tests, which need not speak of the SDM
    expected: bool = True  # agrees, or is a known divergence; False also for a known one that vanished

    def side(self, role: Role) -> Side | None:
        return next((side for side in self.sides if side.role == role), None)

    @property
    def reference(self) -> Side:
        return self.sides[0]

    @property
    def subject(self) -> Side:
        return self.sides[-1]

    @property
    def host_cpu(self) -> Side | None:
        return self.side(Role.HOST_CPU)

    @property
    def wrong(self) -> list[Side]:
        """The sides that the verdict blames."""
        blamed = {
            Verdict.SUBJECT_WRONG: [self.subject],
            Verdict.BY_HOST: [*([self.reference] if self.reference.status.bad else []), self.subject],
            Verdict.REFERENCE_WRONG: [self.reference],
            Verdict.BOTH_WRONG: [self.reference, self.subject],
            Verdict.SHARED: [self.host_cpu or self.reference],
        }
        return blamed.get(self.verdict, [])

    @property
    def refused(self) -> bool:
        """Whether nothing was booted because a target lacks what the case needs. A check that its image skips is not
        refused.
        """
        return self.verdict == Verdict.SKIPPED and all(side.status != Status.SKIP for side in self.sides)

    @property
    def diverges(self) -> bool:
        return MEANINGS[self.verdict].diverges

    @property
    def label(self) -> str:
        names = {"reference": self.reference.implementation, "subject": self.subject.implementation}
        return label(self.verdict, **names, own=self.own)
