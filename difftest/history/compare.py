"""Stored runs compared: each check by the versions it was run with, and what changed from one to the
next.

Pure, from what is on disk. Which versions differ is read from the identities of the targets, not from what was asked
for.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping, Sequence

import msgspec

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL, IMAGE
from difftest.history.carried_out import by_l0, hint
from difftest.history.versions import kernel, upstream
from difftest.judging.confirmation import shown
from difftest.judging.result import Result, Side
from difftest.run.store import StoredRun
from difftest.verdict import MEANINGS, Status, Verdict
from emulators.versions import VERSION_OPTIONS


class Change(enum.StrEnum):
    """What happened to a check from one version to the next."""

    NEW = "new"  # a side that was right is wrong now, or the sides agreed and differ now
    FIXED = "fixed"  # a side that was wrong is right now, or the sides differed and agree now
    CHANGED = "changed"  # as wrong as before, with another verdict or on other fields
    SAME = "same"
    UNKNOWN = "unknown"  # one of the two has no verdict


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one subject, across all runs. `cells` has a verdict's words for each run, "" where it was not
    run.
    """

    case: str
    check: str
    subject: str
    cells: list[str]
    verdicts: list[Verdict | None]  # None where it was not run
    reasons: list[str]
    changes: list[Change]  # one less than cells: from each run to the next
    hint: str = ""  # what the versions together say beyond each verdict


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All runs side by side, in the order in which they were given."""

    runs: list[str]
    versions: list[str]
    rows: list[ComparisonRow]
    notes: list[str]  # what makes the comparison weaker than it looks

    def all_changes(self) -> set[Change]:
        return {change for row in self.rows for change in row.changes}


def compare(runs: Sequence[StoredRun]) -> Comparison:
    """Raises StoreError for a run that cannot be read."""
    results = [{(one.case, one.check, one.subject.target): one for one in run.all_results()} for run in runs]
    # Every row once, in the order in which the runs have them; an optional one after the checks of its case.
    names = list(dict.fromkeys(name for run in results for name in run))
    rows, versions = [], headings(runs)
    for name in names:
        found = [_of(run, every, name) for run, every in zip(runs, results, strict=True)]
        case, check, subject = name
        cells = [_words(one) for one in found]
        reasons = [one.reason if isinstance(one, Result) else "" for one in found]
        changes = [change(one, other) for one, other in itertools.pairwise(found)]
        there = [one for one in found if isinstance(one, Result)]
        hints = [_hint(there), _by_l0(runs, versions, name) if len(there) > 1 else ""]
        rows.append(
            ComparisonRow(
                case=case,
                check=check,
                subject=subject,
                cells=cells,
                verdicts=[one.verdict if isinstance(one, Result) else one for one in found],
                reasons=reasons,
                changes=changes,
                hint="; ".join(filter(None, hints)),
            )
        )
    return Comparison(runs=[run.meta.run for run in runs], versions=versions, rows=rows, notes=_notes(runs))


def change(before: Result | Verdict | None, after: Result | Verdict | None) -> Change:
    """What happened between two versions, judged side by side; a bare Verdict is in place of a result that there was no
    need to give.
    """
    verdicts = [one.verdict if isinstance(one, Result) else one for one in (before, after)]
    if any(verdict is None or not MEANINGS[verdict].decided for verdict in verdicts):
        return Change.UNKNOWN
    if Verdict.SKIPPED in verdicts:
        return Change.SAME if verdicts[0] == verdicts[1] else Change.UNKNOWN
    if isinstance(before, Result) and isinstance(after, Result):
        sides = [
            _side_change(one, other)
            for one, other in ((before.subject, after.subject), (before.reference, after.reference))
        ]
        for kind in (Change.NEW, Change.FIXED):
            if kind in sides:
                return kind
    bad, bad_now = (MEANINGS[verdict].diverges for verdict in verdicts if verdict is not None)
    if bad != bad_now:
        return Change.NEW if bad_now else Change.FIXED
    same = verdicts[0] == verdicts[1] and _values(before) == _values(after)
    return Change.SAME if same else Change.CHANGED


def _side_change(before: Side, after: Side) -> Change:
    """What happened to one side. UNKNOWN where the image judged it by the SDM in one of the two versions only."""
    judged = [side.status.bad or side.status == Status.PASS for side in (before, after)]
    if not all(judged):
        return Change.UNKNOWN
    if before.status.bad == after.status.bad:
        return Change.SAME
    return Change.NEW if after.status.bad else Change.FIXED


def _hint(found: Sequence[Result]) -> str:
    """What the versions together say of a check beyond each verdict."""
    if len(found) < 2:
        return ""
    sides = [side for one in found for side in (one.reference, one.subject)]
    if all(side.status.bad for side in sides):
        return "or the check is wrong: every version that was run fails it"
    shared = any(one.verdict == Verdict.SHARED for one in found)
    if shared and any(one.subject.status == Status.PASS for one in found):
        return (
            "a version that passes proves nothing about one whose failure is shared with the CPU under it: it may do "
            "by itself what the other leaves to the CPU"
        )
    return ""


def _by_l0(runs: Sequence[StoredRun], versions: Sequence[str], name: tuple[str, str, str]) -> str:
    """What records of L0's exits say of a check in these runs."""
    return hint({version: by_l0(run, *name) for version, run in zip(versions, runs, strict=True)})


def _of(
    run: StoredRun, results: Mapping[tuple[str, str, str], Result], name: tuple[str, str, str]
) -> Result | Verdict | None:
    """A run's result; AGREE where there was no need to give one, None where nothing was judged."""
    if name in results:
        return results[name]
    case, check, subject = name
    beside = [result for (other, _, side), result in results.items() if (other, side) == (case, subject)]
    if not beside or not all(MEANINGS[result.verdict].decided for result in beside):
        return None
    if check == IMAGE and all(result.verdict == Verdict.AGREE for result in beside):
        return Verdict.AGREE  # only then is the image judged as a whole
    hosted = "hosting bochs" in run.meta.identities.get(subject, {})
    if check == EMULATOR or (check in (HOST_KERNEL, HOST_EMULATOR) and hosted):
        return Verdict.AGREE
    return None


def _words(one: Result | Verdict | None) -> str:
    if isinstance(one, Result):
        return one.label
    return "-" if one is not None else ""


def _values(one: Result | Verdict | None) -> list[tuple[str, str, str]]:
    """The values of reference and subject."""
    if not isinstance(one, Result):
        return []
    sides = {one.reference.target: "reference", one.subject.target: "subject"}
    return [(field, sides[target], value) for field, target, value in shown(one) if target in sides]


def headings(runs: Sequence[StoredRun]) -> list[str]:
    """What each run was done with, as far as the runs differ in it; a run's own name where they do not."""
    described = [_described(run) for run in runs]
    lines: list[list[str]] = [[] for _ in runs]
    for form in described[0]:
        values = [one[form] for one in described]
        short = [upstream(value) for value in values]
        if len(set(values)) > 1:
            shown = short if len(set(short)) == len(set(values)) else values
            for line, value in zip(lines, shown, strict=True):
                line.append(form.format(value or "none"))
    headings = [", ".join(line) for line in lines]
    return [
        heading if headings.count(heading) == 1 else f"{heading} run {run.meta.run}".strip()
        for heading, run in zip(headings, runs, strict=True)
    ]


def _described(run: StoredRun) -> dict[str, str]:
    """What a run was done with, by the form in which a heading says it."""
    reference = run.meta.identities.get(run.meta.reference, {})
    subjects = _of_subjects(run)
    chosen = {
        option.heading: (reference if option.targets == (run.meta.reference,) else subjects).get(option.identity, "")
        for option in VERSION_OPTIONS
    }
    return {**chosen, "{}": subjects.get("cpu model", "")}


def _of_subjects(run: StoredRun) -> dict[str, str]:
    """The identities of all subjects as one."""
    found: dict[str, str] = {}
    for name in _subjects(run):
        identity = run.meta.identities.get(name, {})
        found |= identity
        if version := kernel(identity):
            found["kernel"] = version
    return found


def _subjects(run: StoredRun) -> list[str]:
    return [name for name in run.meta.targets if name != run.meta.reference and name not in run.meta.host_targets]


def _notes(runs: Sequence[StoredRun]) -> list[str]:
    images: dict[str, set[str]] = {}
    for run in runs:
        for case in run.cases():
            images.setdefault(case.name, set()).add(case.image_sha256)
    notes = [f"{case}: the runs did not boot the same bytes" for case, hashes in images.items() if len(hashes) > 1]
    return notes + [f"{run.meta.run}: {run.meta.status}" for run in runs if run.meta.status != "finished"]
