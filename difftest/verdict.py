"""The one list of verdicts: what each means, how it reads, whether it is a divergence, and what it does to the exit
code.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Protocol

import msgspec

FORMER_SHARED = "inherited"
IMAGE_SKIPPED = "the image skipped it"  # the reason where an image that skips a test does not say why


class Status(enum.StrEnum):
    """What one side of a check gave: the image's own judgement by the SDM, or why there is none."""

    PASS = "PASS"
    FAIL = "FAIL"  # a requirement of the SDM is broken
    OPEN = "OPEN"  # the SDM requires nothing
    SKIP = "SKIP"  # the CPU lacks what the check needs
    DIED = "DIED"  # the guest ended, or hung, in this check
    NOT_REPORTED = "-"

    @property
    def bad(self) -> bool:
        """Whether a side with this status breaks the SDM."""
        return self in (Status.FAIL, Status.DIED)


class Verdict(enum.StrEnum):
    """What a comparison means. The values are those stored in results; `label()` gives the words for people."""

    AGREE = "agree"
    SUBJECT_WRONG = "subject-wrong"
    REFERENCE_WRONG = "reference-wrong"
    BOTH_WRONG = "both-wrong"
    SHARED = "shared"
    BY_HOST = "by-host"
    DIFFER = "differ"
    FLAKY = "flaky"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    @classmethod
    def _missing_(cls, value: object) -> Verdict | None:
        """The word of runs that were stored when the hardware under KVM was known by its name alone."""
        return cls.SHARED if value == FORMER_SHARED else None


class Meaning(msgspec.Struct, frozen=True):
    """How one verdict is shown and counted. `words` may name {subject} and {reference}."""

    words: str
    explanation: str
    diverges: bool  # the sides differ, or one breaks the SDM: somebody has a bug
    decided: bool  # False: no verdict could be reached
    style: str  # rich style in the terminal; the HTML report has a class of the verdict's own name


MEANINGS: dict[Verdict, Meaning] = {
    Verdict.AGREE: Meaning("agree", "both sides gave the same records", False, True, "green"),
    Verdict.SUBJECT_WRONG: Meaning(
        "{subject} wrong", "{subject} does not do what the SDM requires", True, True, "bold red"
    ),
    Verdict.REFERENCE_WRONG: Meaning(
        "{reference} wrong", "{reference} does not do what the SDM requires", True, True, "bold red"
    ),
    Verdict.BOTH_WRONG: Meaning("both wrong", "neither side does what the SDM requires", True, True, "bold red"),
    Verdict.SHARED: Meaning(
        "shared with the hardware",
        "{subject} breaks the SDM, and so does the CPU under it: whose fault it is has not been decided",
        True,
        True,
        "magenta",
    ),
    Verdict.BY_HOST: Meaning(
        "differs by host", "{subject} breaks the SDM on one CPU under it and not on another", True, True, "magenta"
    ),
    Verdict.DIFFER: Meaning("differ", "the sides differ where the SDM decides nothing", True, True, "yellow"),
    Verdict.FLAKY: Meaning(
        "flaky", "repeated boots of the same bytes did not give the same records", True, True, "yellow"
    ),
    Verdict.INCONCLUSIVE: Meaning("inconclusive", "what was observed does not carry a verdict", False, False, "yellow"),
    Verdict.SKIPPED: Meaning("skipped", "a side lacks what the check needs", False, True, "dim"),
}


# The words for results of an image's own tests, which need not speak of the SDM: words and explanation.
OWN_WORDS: dict[Verdict, tuple[str, str]] = {
    Verdict.AGREE: ("agree", "the test gave the same on both sides"),
    Verdict.SUBJECT_WRONG: ("fails its own check on {subject}", "by the image's own check {subject} is wrong"),
    Verdict.REFERENCE_WRONG: ("fails its own check on {reference}", "by the image's own check {reference} is wrong"),
    Verdict.BOTH_WRONG: ("fails its own check on both", "by the image's own check both sides are wrong"),
    Verdict.SHARED: (
        "fails its own check on {subject} and its hardware",
        "by the image's own check {subject} is wrong, and so is the CPU under it",
    ),
    Verdict.DIFFER: ("differ", "the image's own tests do not say which side is right"),
}


def label(verdict: Verdict, *, reference: str, subject: str, own: bool = False) -> str:
    """The verdict in words, with the implementations' names: "KVM wrong". `own`: it is of an image's own test."""
    words = OWN_WORDS[verdict][0] if own and verdict in OWN_WORDS else MEANINGS[verdict].words
    return words.format(reference=reference, subject=subject)


def explanation(verdict: Verdict, *, reference: str, subject: str, own: bool = False) -> str:
    """What the verdict says, as a sentence without its full stop."""
    words = OWN_WORDS[verdict][1] if own and verdict in OWN_WORDS else MEANINGS[verdict].explanation
    return words.format(reference=reference, subject=subject)


class ExitCode(enum.IntEnum):
    """What `difftest` ends with. Scripts rely on these numbers."""

    EXPECTED = 0
    DIVERGED = 1  # an unexpected divergence, or a known one that vanished
    USAGE = 2  # the user's mistake: a wrong option, a name of nothing, a manifest that does not hold
    NO_VERDICT = 3  # some case got no verdict, or nothing was compared
    INTERNAL = 4  # a mistake in difftest
    HOST = 5  # this machine's fault: a full disk, a mirror that does not answer, an emulator that does not start
    INTERRUPTED = 130


class GitExitCode(enum.IntEnum):
    """What `git bisect run` takes: git-bisect(1)."""

    GOOD = 0
    BAD = 1
    SKIP = 125  # no verdict: git tries another commit
    STOP = 128  # an error: git stops


class Judgement(Protocol):
    """What the exit code depends on of a result: see difftest.judging.result.Result."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def expected(self) -> bool: ...
    @property
    def refused(self) -> bool: ...


def exit_code(results: Iterable[Judgement], *, allow_skips: bool = False) -> ExitCode:
    """The exit code of a run. An unexpected divergence outranks a missing verdict.

    A verdict is missing also where a target lacks what a case needs, and where nothing at all was compared, unless
    `allow_skips`. A check that its image skips is none.
    """
    code, compared = ExitCode.EXPECTED, allow_skips
    for result in results:
        decided = MEANINGS[result.verdict].decided
        if not result.expected and decided:
            return ExitCode.DIVERGED
        if not decided or (result.refused and not allow_skips):
            code = ExitCode.NO_VERDICT
        compared |= result.verdict != Verdict.SKIPPED
    return code if compared else ExitCode.NO_VERDICT
