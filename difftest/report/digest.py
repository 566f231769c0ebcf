"""What every report starts from: a stored run put in order, counted, and answered in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from difftest.judging.confirmation import Confirmation, counted
from difftest.judging.result import Result
from difftest.reading.screen_reading import ScreenReading
from difftest.run.store import CaseSnapshot, Meta, StoredRun
from difftest.verdict import MEANINGS, Verdict
from emulators.observation import Observation
from emulators.target import Names

CHOOSING = ("--kernel", "--bochs", "--host-bochs", "--qemu", "--cpu-model")  # options that say what a target is


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One target's boots of one case. Empty when it was never booted: a capability is missing, or the target broke."""

    names: Names
    boots: list[tuple[Observation, ScreenReading]] = []

    @property
    def observation(self) -> Observation | None:
        """The boot that stands for the others in a report: the first."""
        return self.boots[0][0] if self.boots else None

    @property
    def screen(self) -> ScreenReading:
        return self.boots[0][1] if self.boots else ScreenReading(problem="never booted")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One case on the reference and on one subject: the evidence, and the results that stand on it."""

    case: CaseSnapshot
    reference: Side
    subject: Side
    results: list[Result]
    choices: list[str] = []  # the words of the run's command line that say what its targets were
    confirmations: list[Confirmation] = []
    variants: list[tuple[Observation, ScreenReading]] = []  # what was booted otherwise, to confirm

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.reference, self.subject

    def confirmation(self, result: Result) -> Confirmation | None:
        return next(
            (one for one in self.confirmations if (one.check, one.subject) == (result.check, result.subject)), None
        )

    @property
    def findings(self) -> list[Result]:
        """What a reader must look at: divergences, known ones that are gone, and checks without a verdict."""
        return [result for result in self.results if notable(result)]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers. Every result is in exactly one of agree, divergences, inconclusive and skipped."""

    results: int
    agree: int
    divergences: int
    known: int  # divergences that a case's manifest expects
    new: int  # divergences that it does not
    gone: int  # known divergences where both sides now agree
    inconclusive: int
    skipped: int
    blame: dict[str, int]  # label of a diverging verdict ("KVM wrong") -> how often
    looked_again: dict[
        str, int
    ] = {}  # what confirming the divergences gave: "confirmed", "dismissed by re-run" -> how often
    unjudged: int  # cases that were never judged: the run was interrupted


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A run, in the order in which it is told."""

    meta: Meta
    pairs: list[Pair]
    tally: Tally

    @property
    def results(self) -> list[Result]:
        return [result for pair in self.pairs for result in pair.results]


def digest(run: StoredRun) -> Digest:
    """Read a whole run. Raises StoreError for files that are not what they should be."""
    pairs: list[Pair] = []
    unjudged = 0
    again: list[Confirmation] = []
    for case in run.cases():
        results = run.results(case.name)
        unjudged += not results
        booted = {target: list(boots.values()) for target, boots in run.every_boot(case.name).items()}
        boots = {target: [one for one in every if not one[0].variant] for target, every in booted.items()}
        confirmations = run.confirmations(case.name)
        again += confirmations
        for reference, subject in dict.fromkeys((result.reference, result.subject) for result in results):
            own = [result for result in results if (result.reference, result.subject) == (reference, subject)]
            names = own[0].reference_name, own[0].subject_name
            left, right = (
                Side(names=_names(run.meta, target, name), boots=boots.get(target, []))
                for target, name in zip((reference, subject), names, strict=True)
            )
            pairs.append(
                Pair(
                    case=case,
                    reference=left,
                    subject=right,
                    results=own,
                    choices=_choices(run.meta.command),
                    confirmations=confirmations,
                    variants=[
                        one for target in (reference, subject) for one in booted.get(target, []) if one[0].variant
                    ],
                )
            )
    results = [result for pair in pairs for result in pair.results]
    return Digest(meta=run.meta, pairs=pairs, tally=count(results, unjudged, again))


def notable(result: Result) -> bool:
    meaning = MEANINGS[result.verdict]
    return meaning.diverges or not meaning.decided or not result.expected


def standing(result: Result) -> str:
    """Whether a divergence was expected: "known", "new", "gone", or "" where there is none."""
    if MEANINGS[result.verdict].diverges:
        return "known" if result.expected else "new"
    return "gone" if result.verdict == Verdict.AGREE and not result.expected else ""


def count(results: Sequence[Result], unjudged: int = 0, confirmations: Sequence[Confirmation] = ()) -> Tally:
    diverging = [result for result in results if MEANINGS[result.verdict].diverges]
    standings = Counter(standing(result) for result in results)
    verdicts = Counter(result.verdict for result in results)
    return Tally(
        results=len(results),
        agree=verdicts[Verdict.AGREE],
        divergences=len(diverging),
        known=standings["known"],
        new=standings["new"],
        gone=standings["gone"],
        inconclusive=verdicts[Verdict.INCONCLUSIVE],
        skipped=verdicts[Verdict.SKIPPED],
        blame=dict(Counter(result.label for result in diverging).most_common()),
        looked_again=counted(confirmations),
        unjudged=unjudged,
    )


def headline(tally: Tally) -> str:
    """The answer in a few words: "KVM wrong in 1 of 2 checks"."""
    if not tally.results:
        return "Nothing was judged"
    total = "1 check" if tally.results == 1 else f"{tally.results} checks"
    if tally.blame:
        (first, times), *others = tally.blame.items()
        words = [f"{first[:1].upper()}{first[1:]} in {times} of {total}", *(f"{label} in {n}" for label, n in others)]
        return ", ".join(words)
    if tally.inconclusive:
        return f"No verdict on {tally.inconclusive} of {total}"
    if tally.skipped == tally.results:
        return f"Skipped: {total}"
    return (
        f"{total[:1].upper()}{total[1:]}, no divergence"
        if tally.skipped or tally.results == 1
        else f"All {total} agree"
    )


def counts(tally: Tally) -> list[str]:
    """The numbers behind the headline, those of nothing left out."""
    divergences = ""
    if tally.divergences:
        kinds = [f"{n} {word}" for word, n in (("known", tally.known), ("new", tally.new)) if n]
        divergences = f"{_many(tally.divergences, 'divergence')} ({', '.join(kinds)})"
    return [
        words
        for words in (
            f"{tally.agree} agree" if tally.agree else "",
            divergences,
            f"{_many(tally.gone, 'known divergence')} gone" if tally.gone else "",
            f"{tally.inconclusive} without a verdict" if tally.inconclusive else "",
            f"{tally.skipped} skipped" if tally.skipped else "",
            f"{_many(tally.unjudged, 'case')} not judged" if tally.unjudged else "",
            "looked at again: " + ", ".join(f"{n} {what}" for what, n in tally.looked_again.items())
            if tally.looked_again
            else "",
        )
        if words
    ]


def _choices(command: Sequence[str]) -> list[str]:
    """What a command line says of the targets themselves: the options and their values, each as two words."""
    chosen = []
    for word, following in zip(command, [*command[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in CHOOSING:
            chosen += [option, value if equals else following]
    return chosen


def _names(meta: Meta, target: str, implementation: str) -> Names:
    return meta.targets.get(target) or Names(target=target, implementation=implementation)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
