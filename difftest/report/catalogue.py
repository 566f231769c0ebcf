"""The catalogue of checks with what runs of several versions showed of each, in Markdown. All from stored runs,
offline.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from difftest.history.compare import headings
from difftest.judging.result import Result
from difftest.report.digest import digest
from difftest.report.environment import environments
from difftest.report.findings import END, START, findings, summary, table
from difftest.report.lookup import manifest_of
from difftest.report.markdown import cell
from difftest.report.words import statuses, targets
from difftest.run.metadata import CaseSnapshot
from difftest.run.store import StoredRun
from difftest.verdict import MEANINGS, Verdict

SHOWN_REASON = 240  # characters of a reason in the table
WIDTH = 120  # columns of what is no table
INTRODUCTION = """\
Written by `difftest report --catalogue` from stored runs; do not edit. PASS and FAIL are the image's own judgement by
the SDM, OPEN is what the SDM leaves open, SKIP names a missing capability, DIED is a guest that ended or hung in the
check. Section numbers are those of the 2024 edition of the SDM, Vol. 3; titles stay when numbers move."""


def catalogue(runs: Sequence[StoredRun]) -> str:
    """docs/catalogue.md: what was found, the versions, and a table for each case.

    Raises StoreError for a run that cannot be read.
    """
    return "\n".join(_lines(runs)) + "\n"


def of_run(run: StoredRun) -> str:
    """The same of a run, and of the other runs of its command."""
    return catalogue([*run.siblings(), run])


def _lines(runs: Sequence[StoredRun]) -> Iterator[str]:
    names = headings(runs)
    found = findings(runs)
    yield from ("# What the checks showed", "", INTRODUCTION, "", START, summary(found), END)
    yield from ("", "## Every fault", "", table(found))
    for name, run in zip(names, runs, strict=True):
        yield from ("", f"## Run {run.meta.run}: {cell(name)}", "")
        columns, lines = environments(digest(run).pairs, run.meta)
        yield f"| | {' | '.join(cell(name) for name in columns)} |"
        yield "|---" * (len(columns) + 1) + "|"
        for line in lines:
            yield f"| {cell(line.key)} | {' | '.join(cell(value, 80) for value in line.values)} |"
    cases = {case.name: case for run in runs for case in run.cases()}
    for snapshot in cases.values():
        results = {name: run.results(snapshot.name) for name, run in zip(names, runs, strict=True)}
        yield from _case(snapshot, results)


def _case(snapshot: CaseSnapshot, results: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    yield from ("", f"## {cell(snapshot.name)}: {cell(snapshot.title)}")
    every = [(name, result) for name, found in results.items() for result in found]
    for subject in dict.fromkeys(result.subject.target for _, result in every):
        yield from (
            "",
            f"| check | SDM | verdict on {cell(subject)} | each side | what differs |",
            "|---|---|---|---|---|",
        )
        checks = dict.fromkeys(result.check for _, result in every if result.subject.target == subject)
        for check in checks:
            found = {
                name: result for name, result in every if (result.subject.target, result.check) == (subject, check)
            }
            yield _row(found, len(results))
    manifest = manifest_of(snapshot)
    yield from _list("Rows of the catalogue that are no check here:", [(row.id, row.reason) for row in manifest.absent])
    yield from _list("Notes:", [(note.id, note.text) for note in manifest.note])


def _row(found: Mapping[str, Result], runs: int) -> str:
    """One check in all runs. What is the same in all of them is said once."""
    first = next(iter(found.values()))
    reasons = {name: cell(result.reason, SHOWN_REASON) for name, result in found.items() if _is_notable(result)}
    cells = [f"`{cell(first.check)}` {cell(first.summary, 200)}", cell(first.sdm, 200)]
    cells.append(_by_version({name: cell(result.label) for name, result in found.items()}, runs))
    sides = {name: f"{cell(targets(result))}: {statuses(result)}" for name, result in found.items()}
    cells.append(_by_version(sides, runs))
    cells.append(_by_version(reasons, runs))
    return f"| {' | '.join(cells)} |"


def _by_version(values: Mapping[str, str], runs: int) -> str:
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    if len(groups) == 1 and len(values) == runs:
        return next(iter(groups))
    return "<br>".join(f"{value} ({cell(', '.join(names))})" for value, names in groups.items())


def _is_notable(result: Result) -> bool:
    meaning = MEANINGS[result.verdict]
    return meaning.diverges or not meaning.decided or result.verdict == Verdict.SKIPPED


def _list(heading: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield from ("", heading, "")
        yield from (_wrapped(f"- **{cell(row)}**: {cell(words, 1000)}") for row, words in rows)


def _wrapped(item: str) -> str:
    return textwrap.fill(item, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
