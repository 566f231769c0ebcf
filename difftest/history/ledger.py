"""What any number of stored runs showed, a row for each check of each run: the table that a history is made from.

A column is what was compared: a subject's version, the version of Bochs beside it, and what else was chosen. Imports
pandas, so it is imported where it is used.
"""

from __future__ import annotations

import functools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import pandas as pd

from difftest.case.manifest import HOST_EMULATOR, HOST_KERNEL, OF_LOGS
from difftest.errors import StoreError
from difftest.history.versions import order, reference_version, subject_version
from difftest.judging.result import Outline, Role
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS, Status, Verdict

VERDICTS = list(Verdict)
NONE, GOOD, BAD = -1, 0, 1  # what a side shows: nothing, as it should be, wrong
FIELDS = {"run": "i", "column": "i", "check": "i", "verdict": "b", "subject": "b", "reference": "b", "differs": "b"}
BLAMED = {
    Verdict.SUBJECT_WRONG: (Role.SUBJECT,),
    Verdict.REFERENCE_WRONG: (Role.REFERENCE,),
    Verdict.BOTH_WRONG: (Role.REFERENCE, Role.SUBJECT),
    Verdict.BY_HOST: (Role.SUBJECT,),
}
HOSTED_ONLY = (HOST_KERNEL, HOST_EMULATOR)
# What else may distinguish two runs of the same versions, by the key of the identity: of the reference, of a subject.
OF_REFERENCE = {"cpu model": "reference {}"}
OF_SUBJECT = {
    "hosting bochs": "in Bochs {}",
    "hosting cpu model": "on {}",
    "asked module parameters": "{}",
    "cpu model": "cpu {}",
}


class Column(msgspec.Struct, frozen=True):
    """What a check was tried on. `variant` says what was not as in most runs."""

    implementation: str
    version: str
    bochs: str
    variant: str = ""

    @property
    def words(self) -> str:
        return ", ".join(filter(None, (self.version or self.implementation, self.bochs, self.variant)))


class CheckKey(msgspec.Struct, frozen=True):
    """A check, for one implementation under test."""

    case: str
    check: str
    implementation: str


class CheckSummary(msgspec.Struct, frozen=True):
    """What the newest run says of a check."""

    summary: str
    sdm: str
    reference: str  # the implementation
    own: bool


class Ledger(msgspec.Struct, frozen=True):
    """`frame` has the fields of FIELDS, in the order of the runs; its numbers are places in the lists."""

    runs: list[StoredRun]
    columns: list[Column]
    checks: list[CheckKey]
    abouts: list[CheckSummary]
    frame: pd.DataFrame
    troubles: list[str]

    def newest(self) -> pd.DataFrame:
        """The last row of each check in each column."""
        return self.frame.drop_duplicates(["check", "column"], keep="last")


def ledger(
    runs: Sequence[StoredRun], troubles: Sequence[str] = (), said: Callable[[int], None] = lambda n: None
) -> Ledger:
    """Read all results. A run that cannot be read is left out and named in `troubles`; `said` is called with the number
    of each run.
    """
    book = _Book(_usual(runs))
    kept: list[StoredRun] = []
    trouble = list(troubles)
    for number, run in enumerate(runs):
        said(number)
        try:
            results = [(case.name, run.outlines(case.name)) for case in run.cases()]
        except StoreError as error:
            trouble.append(visible(str(error), 400))
            continue
        for case, found in results:
            book.add(len(kept), run, case, found)
        kept.append(run)
    book.add_quiet_logs()
    return book.closed(kept, trouble)


class Shown(NamedTuple):
    """What a result is in the table: NONE, GOOD or BAD of each side, and of where neither can be called wrong."""

    verdict: int
    subject: int
    reference: int
    differs: int


@functools.cache
def shown(verdict: Verdict, reference: Status, subject: Status) -> Shown:
    """What a verdict says, with what the image said of the two sides."""
    meaning, blamed = MEANINGS[verdict], BLAMED.get(verdict, ())
    states = []
    for role, status in ((Role.SUBJECT, subject), (Role.REFERENCE, reference)):
        if verdict == Verdict.FLAKY or not meaning.decided:
            states.append(NONE)
        elif status.bad or role in blamed:
            states.append(BAD)
        else:
            states.append(GOOD if status == Status.PASS or verdict == Verdict.AGREE else NONE)
    if not meaning.decided or verdict == Verdict.SKIPPED:
        odd = NONE
    else:
        odd = BAD if meaning.diverges and BAD not in states else GOOD
    on_subject, on_reference = states
    return Shown(VERDICTS.index(verdict), on_subject, on_reference, odd)


class _Book:
    """The table while it is written."""

    def __init__(self, usual: dict[str, str]) -> None:
        self._usual = usual
        self._columns: dict[Column, int] = {}
        self._checks: dict[CheckKey, int] = {}
        self._abouts: dict[int, CheckSummary] = {}
        self._table = {name: array(kind) for name, kind in FIELDS.items()}
        self._decided: dict[tuple[int, int, str, str], tuple[bool, bool]] = {}  # by run, column, case, implementation
        self._logs: set[tuple[int, int, int]] = set()  # by run, column, check

    def add(self, number: int, run: StoredRun, case: str, results: Sequence[Outline]) -> None:
        columns: dict[tuple[str, str], int] = {}
        for one in results:
            pair = one.reference.target, one.subject.target
            if pair not in columns:
                columns[pair] = self._column(run, one)
                self._decided[number, columns[pair], case, one.subject.implementation] = (
                    "hosting bochs" in run.meta.identities.get(pair[1], {}),
                    all(MEANINGS[two.verdict].decided for two in results if two.subject.target == pair[1]),
                )
            check = self._check(CheckKey(case, one.check, one.subject.implementation))
            self._abouts[check] = CheckSummary(one.summary, one.sdm, one.reference.implementation, one.own)
            if one.check in OF_LOGS:
                self._logs.add((number, columns[pair], check))
            self._row(
                number,
                columns[pair],
                check,
                *shown(one.verdict, one.reference.status, one.subject.status),
            )

    def add_quiet_logs(self) -> None:
        """A log in which nothing was found has no result: where all else of the case was decided it was in order."""
        agree = VERDICTS.index(Verdict.AGREE)
        for check, number in list(self._checks.items()):
            if check.check not in OF_LOGS:
                continue
            for (run, column, case, implementation), (hosted, decided) in self._decided.items():
                of_it = (case, implementation) == (check.case, check.implementation) and decided
                if of_it and (hosted or check.check not in HOSTED_ONLY) and (run, column, number) not in self._logs:
                    self._row(run, column, number, agree, GOOD, GOOD, GOOD)

    def closed(self, runs: list[StoredRun], troubles: list[str]) -> Ledger:
        frame = pd.DataFrame(
            {name: pd.Series(values, dtype=f"int{8 * values.itemsize}") for name, values in self._table.items()}
        )
        frame = frame.sort_values(["run"], kind="stable", ignore_index=True)
        columns = sorted(
            self._columns, key=lambda one: (one.implementation, order(one.version), order(one.bochs), one.variant)
        )
        places = {self._columns[column]: place for place, column in enumerate(columns)}
        frame["column"] = frame["column"].map(places)
        abouts = [self._abouts[number] for number in range(len(self._checks))]
        return Ledger(runs, columns, list(self._checks), abouts, frame, troubles)

    def _row(self, *values: int) -> None:
        for column, value in zip(self._table.values(), values, strict=True):
            column.append(value)

    def _check(self, check: CheckKey) -> int:
        return self._checks.setdefault(check, len(self._checks))

    def _column(self, run: StoredRun, result: Outline) -> int:
        reference = run.meta.identities.get(result.reference.target, {})
        subject = run.meta.identities.get(result.subject.target, {})
        chosen = _chosen(result.subject.implementation, reference, subject)
        column = Column(
            result.subject.implementation,
            subject_version(subject),
            reference_version(reference),
            ", ".join(
                words or f"without {self._usual[key]}"
                for key, words in chosen.items()
                if words != self._usual.get(key, words)
            ),
        )
        return self._columns.setdefault(column, len(self._columns))


def _chosen(implementation: str, reference: dict[str, str], subject: dict[str, str]) -> dict[str, str]:
    """What else a run was done with, in words, by implementation and what it is."""
    sides = ((reference, OF_REFERENCE), (subject, OF_SUBJECT))
    return {
        f"{implementation} {form}": form.format(identity[key]) if identity.get(key) else ""
        for identity, forms in sides
        for key, form in forms.items()
    }


def _usual(runs: Iterable[StoredRun]) -> dict[str, str]:
    """What most runs were done with, which no column mentions."""
    seen: dict[str, Counter[str]] = {}
    for run in runs:
        for name, names in run.meta.targets.items():
            if name != run.meta.reference and name not in run.meta.host_targets:
                reference, subject = (run.meta.identities.get(one, {}) for one in (run.meta.reference, name))
                for key, words in _chosen(names.implementation, reference, subject).items():
                    seen.setdefault(key, Counter())[words] += 1
    return {key: words.most_common(1)[0][0] for key, words in seen.items()}
