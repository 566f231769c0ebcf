"""What every report starts from: a stored run put in order, counted, and answered in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL
from difftest.judging.confirmation import Confirmation, counted
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading
from difftest.reading.screen_reading import ScreenReading
from difftest.run.metadata import CaseSnapshot, Meta
from difftest.run.store import StoredRun
from difftest.verdict import MEANINGS, Verdict
from emulators.observation import Observation
from emulators.target import Names
from emulators.versions import VERSION_OPTIONS

ORDER = list(Role)  # of the sides in a report
CHOOSING = [option.flag for option in VERSION_OPTIONS]  # options that say what a target is


class SideReport(msgspec.Struct, frozen=True, kw_only=True):
    """One target's boots of one case. Empty when it was never booted: a capability is missing, or the target broke."""

    role: Role
    names: Names
    boots: list[BootReading] = []

    @property
    def reading(self) -> BootReading | None:
        """The boot that a report shows in place of the others: the first."""
        return self.boots[0] if self.boots else None

    def showing(self, result: Result) -> BootReading | None:
        """The boot that gave what a result says of this side: of repeated ones, and of the later ones with the checks
        that were left, the first with these values.
        """
        given = {
            field.name: field.values[self.names.target] for field in result.fields if self.names.target in field.values
        }

        def gave(reading: BootReading) -> bool:
            record = reading.transcript.records.get(result.check)
            return record is not None and record.fields | record.free == given

        for shows in (
            gave,
            lambda reading: result.check in reading.transcript.records,
            lambda reading: reading.transcript.died_in() == result.check,
            lambda reading: result.check == HOST_KERNEL and bool(reading.observation.kernel_faults),
            lambda reading: result.check in (EMULATOR, HOST_EMULATOR) and bool(reading.observation.panics),
        ):
            if found := next(filter(shows, self.boots), None):
                return found
        return self.reading

    def of(self, result: Result) -> SideReport:
        """This side with the boot in front that shows a result."""
        shown = self.showing(result)
        others = [reading for reading in self.boots if reading is not shown]
        return msgspec.structs.replace(self, boots=[*([shown] if shown else []), *others])

    @property
    def observation(self) -> Observation | None:
        return self.reading.observation if self.reading else None

    @property
    def screen(self) -> ScreenReading:
        return self.reading.screen if self.reading else ScreenReading(problem="never booted")

    @property
    def terminal_line(self) -> str:
        return self.reading.transcript.terminal_line if self.reading else ""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One case on the reference and on one subject: the evidence, and the results that rest on it.

    `sides` has the reference first, the subject last, and between them the CPU under the subject where it was booted.
    """

    case: CaseSnapshot
    sides: list[SideReport]
    results: list[Result]
    choices: list[str] = []  # the words of the run's command line that say what its targets were
    confirmations: list[Confirmation] = []
    variants: list[BootReading] = []  # what was booted otherwise, to confirm

    @property
    def reference(self) -> SideReport:
        return self.sides[0]

    @property
    def subject(self) -> SideReport:
        return self.sides[-1]

    def side(self, target: str) -> SideReport:
        """The side of a target that a result names. Raises KeyError."""
        for side in self.sides:
            if side.names.target == target:
                return side
        raise KeyError(target)

    def confirmation(self, result: Result) -> Confirmation | None:
        wanted = result.check, result.subject.target
        return next((one for one in self.confirmations if (one.check, one.subject) == wanted), None)

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
    """A run, in the order in which it is reported."""

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
        booted = run.every_boot(case.name)
        boots = {target: [reading for reading in every if not reading.boot.variant] for target, every in booted.items()}
        confirmations = run.confirmations(case.name)
        again += confirmations
        for reference, subject in dict.fromkeys((one.reference.target, one.subject.target) for one in results):
            own = [one for one in results if (one.reference.target, one.subject.target) == (reference, subject)]
            sides = {side.target: side for result in own for side in result.sides}
            order = sorted(sides.values(), key=lambda side: ORDER.index(side.role))
            pairs.append(
                Pair(
                    case=case,
                    sides=[
                        SideReport(
                            role=side.role,
                            names=Names(target=side.target, implementation=side.implementation),
                            boots=boots.get(side.target, []),
                        )
                        for side in order
                    ],
                    results=own,
                    choices=choices(run.meta.command),
                    confirmations=confirmations,
                    variants=[
                        reading for side in order for reading in booted.get(side.target, []) if reading.boot.variant
                    ],
                )
            )
    results = [result for pair in pairs for result in pair.results]
    return Digest(meta=run.meta, pairs=pairs, tally=count(results, unjudged, again))


def notable(result: Result) -> bool:
    meaning = MEANINGS[result.verdict]
    return meaning.diverges or not meaning.decided or not result.expected


def grouped(results: Sequence[Result]) -> list[list[Result]]:
    """Results for a reader, each alone, but for those without a verdict, and for tests of an image's own: many of one
    case have the same cause.
    """
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        many = result.own or not MEANINGS[result.verdict].decided
        cause = (result.reason, standing(result), *(side.status.value for side in result.sides)) if many else ()
        known = result.known.reason if result.known else ""
        one = (known,) if many else (result.check,)
        groups.setdefault((result.case, result.subject.target, result.verdict.value, *cause, *one), []).append(result)
    return list(groups.values())


def standing(result: Result) -> str:
    """Whether a divergence was expected: "known", "new", "gone", or "" where there is none."""
    if MEANINGS[result.verdict].diverges:
        if result.expected:
            return "known"
        return "gone" if result.known is not None else "new"  # one side of what is known is repaired
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
    """The numbers that the headline sums up, those of nothing left out."""
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


def choices(command: Sequence[str]) -> list[str]:
    """What a command line says of the targets themselves: the options and their values, each as two words."""
    chosen = []
    for word, following in zip(command, [*command[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in CHOOSING:
            chosen += [option, value if equals else following]
    return chosen


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
