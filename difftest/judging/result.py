"""What judging gives: one Result per check and pair of targets. Plain data, stored beside the observations."""

from __future__ import annotations

import msgspec

from difftest.case.manifest import Known
from difftest.verdict import MEANINGS, Verdict, label


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a check, side by side. Text is safe to show (it went through difftest.text)."""

    name: str
    reference: str | None
    subject: str | None
    required: str | None = None  # what the SDM requires, when the check says so
    compared: bool = True  # False: recorded only, the SDM leaves it undefined or it is volatile

    @property
    def differs(self) -> bool:
        return self.compared and self.reference != self.subject


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one check, for one subject against the reference."""

    case: str
    check: str
    sdm: str = ""  # SDM section, title and number
    summary: str = ""
    reference: str  # target names
    subject: str
    reference_name: str  # implementations, as a verdict names them
    subject_name: str
    verdict: Verdict
    reason: str  # one sentence: why this verdict
    reference_status: str  # PASS, FAIL, OPEN, SKIP as the image said, or "-" where it said nothing
    subject_status: str
    fields: list[Field] = []
    boots: str = ""  # "2/3": how many of the repeated boots showed this; empty when booted once
    known: Known | None = None
    expected: bool = True  # agrees, or is a known divergence; False also for a known one that vanished

    @property
    def diverges(self) -> bool:
        return MEANINGS[self.verdict].diverges

    @property
    def label(self) -> str:
        return label(self.verdict, reference=self.reference_name, subject=self.subject_name)
