"""The catalogue of checks with what a run showed of each, in Markdown. All from a stored run, offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from difftest.case.manifest import Manifest
from difftest.judging.result import Result
from difftest.report.digest import digest
from difftest.report.environment import environments
from difftest.report.markdown import cell
from difftest.run.store import CaseSnapshot, StoredRun
from difftest.verdict import MEANINGS

SHOWN_REASON = 240  # characters of a reason in the table


def catalogue(run: StoredRun) -> str:
    """docs/catalogue.md: one table a case, with the versions that the figures hold for."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: StoredRun) -> Iterator[str]:
    yield "# What the checks showed"
    yield ""
    yield (
        "Written by `difftest report --catalogue` from one run; do not edit. PASS and FAIL are the image's own "
        "judgement by"
    )
    yield (
        "the SDM, OPEN is what the SDM leaves open, SKIP names a missing capability. Section numbers are those "
        "of the 2024"
    )
    yield "edition of the SDM, Vol. 3; titles stay when numbers move."
    yield ""
    yield f"Run {run.meta.run}, difftest {run.meta.tool_version}."
    yield ""
    targets, lines = environments(digest(run).pairs, run.meta)
    yield f"| | {' | '.join(targets)} |"
    yield "|---" * (len(targets) + 1) + "|"
    for line in lines:
        yield f"| {cell(line.key)} | {' | '.join(cell(value, 80) for value in line.values)} |"
    for snapshot in run.cases():
        yield from _case(snapshot, run.results(snapshot.name))


def _case(snapshot: CaseSnapshot, results: list[Result]) -> Iterator[str]:
    yield ""
    yield f"## {cell(snapshot.name)}: {cell(snapshot.title)}"
    for subject in dict.fromkeys(result.subject for result in results):
        chosen = [result for result in results if result.subject == subject]
        yield ""
        yield f"| check | SDM | {chosen[0].reference} | {subject} | verdict | what differs |"
        yield "|---|---|---|---|---|---|"
        for result in chosen:
            told = (
                MEANINGS[result.verdict].diverges or not MEANINGS[result.verdict].decided or result.verdict == "skipped"
            )
            reason = cell(result.reason, SHOWN_REASON) if told else ""
            cells = [f"`{cell(result.check)}` {cell(result.summary, 200)}", cell(result.sdm, 200)]
            cells += [result.reference_status, result.subject_status, result.label, reason]
            yield "| " + " | ".join(cells) + " |"
    manifest = _manifest(snapshot)
    yield from _list("Rows of the catalogue that are no check here:", [(row.id, row.reason) for row in manifest.absent])
    yield from _list("Notes:", [(note.id, note.text) for note in manifest.note])


def _list(heading: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield from ("", heading, "")
        yield from (f"- **{cell(row)}**: {cell(words, 1000)}" for row, words in rows)


def _manifest(snapshot: CaseSnapshot) -> Manifest:
    try:
        return msgspec.toml.decode(snapshot.manifest, type=Manifest)
    except msgspec.DecodeError:
        return Manifest(name="image")
