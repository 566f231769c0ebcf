"""Judging a stored run anew, after a rule changed: a `[[known]]` entry, a regular expression of a case, or the judge
itself.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from difftest.case.manifest import Manifest
from difftest.judging.confirmation import settled
from difftest.judging.judge import judge
from difftest.judging.result import Result
from difftest.reading.seen import see
from difftest.run.store import CaseSnapshot, StoredRun
from emulators.target import Names

ManifestOf = Callable[[CaseSnapshot], Manifest]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One check that is judged otherwise; None where there was, or is, no such result."""

    before: Result | None
    after: Result | None

    @property
    def words(self) -> str:
        """The change in one line."""
        one = self.after or self.before
        assert one is not None
        return f"{one.case} / {one.check} on {one.subject}: {_told(self.before)} -> {_told(self.after)}"


def rejudge(run: StoredRun, case: CaseSnapshot, manifest: Manifest) -> list[Result]:
    """The results of one case from what was observed. Pairs that could not be booted keep what was said of them.

    Raises StoreError for a run that cannot be read.
    """
    stored = run.results(case.name)
    boots = {
        target: [see(observation, screen) for observation, screen in seen]
        for target, seen in run.observations(case.name).items()
    }
    results: list[Result] = []
    for reference, subject in dict.fromkeys((result.reference, result.subject) for result in stored):
        old = [result for result in stored if (result.reference, result.subject) == (reference, subject)]
        if reference not in boots or subject not in boots or all(_refused(result) for result in old):
            results += old
            continue
        sides = [
            (run.meta.targets.get(target) or Names(target=target, implementation=name), boots[target])
            for target, name in ((reference, old[0].reference_name), (subject, old[0].subject_name))
        ]
        results += judge(manifest, case.checks, sides[0], sides[1])
    return settled(results, run.confirmations(case.name))


def changes(before: list[Result], after: list[Result]) -> list[Change]:
    """The checks whose verdict, standing or reason is another one."""
    olds, news = ({(one.check, one.reference, one.subject): one for one in results} for results in (before, after))
    pairs = ((olds.get(key), news.get(key)) for key in dict.fromkeys([*olds, *news]))
    return [Change(before=old, after=new) for old, new in pairs if _told(old) != _told(new)]


def _refused(result: Result) -> bool:
    """Whether a result tells of a pair that was never compared (see difftest.judging.judge.missing)."""
    return not result.fields and result.reference_status == result.subject_status == "-"


def _told(result: Result | None) -> str:
    if result is None:
        return "nothing"
    standing = "" if result.expected else " (unexpected)"
    return f"{result.label}{standing}: {result.reason}"
