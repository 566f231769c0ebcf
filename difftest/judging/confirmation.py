"""Whether a divergence shows again when it is looked at again: the stages that confirm one, and what they do to its
verdict.

Stages: the screen read a second time in another way; the same bytes booted again on both sides; booted on each side's
variants (another CPU model, and what else the target offers); and, where the subject runs on an emulated CPU and is
blamed, booted on another such CPU. Pure; the boots are made by `difftest.run.confirm`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from difftest.case.manifest import HOST_KERNEL
from difftest.judging.result import Result
from difftest.verdict import MEANINGS, Verdict

SCREEN = "second reading of the screen"
RERUN = "re-run"
MOST_OWN = 3  # divergences of an image's own tests that are confirmed
OTHER_HOST = "another CPU under it"


class ConfirmScope(enum.StrEnum):
    """Which divergences are to be confirmed."""

    NEW = "new"
    ALL = "all"
    NONE = "none"


class StageOutcome(enum.StrEnum):
    SAME = "same"  # the divergence showed again
    DIFFERENT = "different"  # it did not
    UNKNOWN = "unknown"  # the stage could not be done, or gave no verdict


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: its name (SCREEN, RERUN, or a variant's), what it gave, and the reason in one sentence."""

    name: str
    outcome: StageOutcome
    detail: str = ""


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """All stages of one divergence."""

    check: str
    subject: str
    stages: list[Stage]

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def dismissed(self) -> str:
        """The stage that takes the verdict away, or "". A variant never does: it narrows down when the divergence
        shows.
        """
        gone = (
            stage.name
            for stage in self.stages
            if stage.outcome == StageOutcome.DIFFERENT and stage.name in (SCREEN, RERUN)
        )
        return next(gone, "")

    @property
    def limits(self) -> list[str]:
        """The variants on which the divergence did not show."""
        plain = (SCREEN, RERUN, OTHER_HOST)
        return [
            stage.name for stage in self.stages if stage.outcome == StageOutcome.DIFFERENT and stage.name not in plain
        ]


def doubted(results: Iterable[Result], which: ConfirmScope) -> list[Result]:
    """The results that are to be confirmed. Of tests of an image's own, which may be thousands, a few: one of each
    verdict and reason, since what one boot showed again of one it showed of all.
    """
    found = [
        result
        for result in results
        if MEANINGS[result.verdict].diverges
        and result.check != HOST_KERNEL
        and (which == ConfirmScope.ALL or (which == ConfirmScope.NEW and not result.expected))
    ]
    own: dict[tuple[str, str, str], Result] = {}
    for result in found:
        if result.own:
            own.setdefault((result.subject.target, result.verdict, result.reason), result)
    few = list(own.values())[:MOST_OWN]
    return [result for result in found if not result.own or any(result is one for one in few)]


def stage_of(name: str, first: Result, again: Result | None) -> Stage:
    """What a second look at a check gave. `again` is its result there, None when there is none."""
    if again is None or not MEANINGS[again.verdict].decided or again.verdict == Verdict.SKIPPED:
        return Stage(
            name=name, outcome=StageOutcome.UNKNOWN, detail=again.reason if again else "the check was not reported"
        )
    if name == OTHER_HOST and again.verdict == Verdict.SHARED:
        return Stage(name=name, outcome=StageOutcome.UNKNOWN, detail=again.reason)
    if again.verdict != first.verdict:
        return Stage(name=name, outcome=StageOutcome.DIFFERENT, detail=f"{again.label}: {again.reason}")
    values = "" if shown(again) == shown(first) else "with other values: "
    return Stage(name=name, outcome=StageOutcome.SAME, detail=f"{values}{again.reason}")


def confirmed(results: Sequence[Result], confirmations: Sequence[Confirmation]) -> list[Result]:
    """The results with what confirming them showed. A re-run is a repeated boot, so the judge has made it flaky
    already.
    """
    found = {(one.check, one.subject): one for one in confirmations}
    return [_confirmed(result, found.get((result.check, result.subject.target))) for result in results]


def _confirmed(result: Result, confirmation: Confirmation | None) -> Result:
    if confirmation is None or not MEANINGS[result.verdict].diverges:
        return result
    screen = confirmation.stage(SCREEN)
    if screen is not None and screen.outcome == StageOutcome.DIFFERENT:
        reason = f"dismissed by a second reading of the screen: {screen.detail}"
        return msgspec.structs.replace(result, verdict=Verdict.INCONCLUSIVE, expected=False, reason=reason)
    elsewhere = confirmation.stage(OTHER_HOST)
    blamed = result.verdict in (Verdict.SUBJECT_WRONG, Verdict.BOTH_WRONG)
    if elsewhere is not None and elsewhere.outcome == StageOutcome.DIFFERENT and blamed:
        reason = f"{result.reason}; on another CPU under it: {elsewhere.detail}"
        return msgspec.structs.replace(result, verdict=Verdict.BY_HOST, expected=False, reason=reason)
    if confirmation.limits:
        return msgspec.structs.replace(result, reason=f"{result.reason}; not with {', '.join(confirmation.limits)}")
    return result


def counted(confirmations: Iterable[Confirmation]) -> dict[str, int]:
    """How many divergences were confirmed, dismissed by which stage, and seen to depend on which variant."""
    counts: Counter[str] = Counter()
    for one in confirmations:
        again = {stage.name for stage in one.stages if stage.outcome == StageOutcome.SAME}
        if one.dismissed:
            counts[f"dismissed by {one.dismissed}"] += 1
        elif RERUN in again:
            counts["confirmed"] += 1
        else:
            counts["neither confirmed nor dismissed"] += 1
        for limit in one.limits:
            counts[f"not with {limit}"] += 1
    return dict(counts)


def shown(result: Result) -> list[tuple[str, str, str]]:
    """All compared values of a result: field, target, value."""
    return [
        (field.name, target, value)
        for field in result.fields
        if field.compared
        for target, value in sorted(field.values.items())
    ]
