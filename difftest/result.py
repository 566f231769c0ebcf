"""What judging gives: one Result per check and pair of targets. Plain data, stored beside the observations."""

from __future__ import annotations

import msgspec

from difftest.verdict import MEANINGS, Verdict, label

IMAGE = "image"  # the check id of what is compared for an image as a whole: how it ended, terminal line, rows 20-23
HOST_KERNEL = "host-kernel"  # the check id of a WARN, BUG or oops in the log of the kernel under test


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


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A divergence that the case's manifest says is known: `[[known]]` in case.toml."""

    check: str | list[str]  # one check's id, or several that diverge alike
    verdict: Verdict
    reason: str
    link: str = ""
    targets: list[str] = []  # subjects it holds for; empty: all
    kernels: str = ""  # versions of the kernel it holds for, as a PEP 440 specifier set (">=5.10,<8"); empty: all
    bochs: str = ""  # the same of the reference Bochs

    @property
    def checks(self) -> list[str]:
        return [self.check] if isinstance(self.check, str) else self.check


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
