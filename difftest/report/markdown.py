"""A run as Markdown for a job's summary page: the answer, what must be looked at, and how to see it again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from difftest.judging.result import Result
from difftest.report.digest import Digest, Pair, counts, digest, grouped, headline, standing
from difftest.report.environment import environments
from difftest.report.words import paragraph, reproduce, statuses, targets, title, titles
from difftest.run.store import StoredRun
from difftest.text import visible

MOST_FINDINGS = 50  # that are reported in full; a summary page takes a megabyte
IDENTITY = ("kernel", "qemu", "bochs", "hosting bochs", "cpu model", "hosting cpu model")


def summary(run: StoredRun) -> str:
    """The page. Raises StoreError for a run that cannot be read."""
    return "\n".join(_lines(digest(run))) + "\n"


def cell(text: str, limit: int = 400) -> str:
    """Text as one Markdown table cell: nothing in it starts markup, ends the cell, or becomes a link or a mention."""
    if not text:
        return ""
    escaped = re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", visible(text, limit))
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def _lines(whole: Digest) -> Iterator[str]:
    tally = whole.tally
    mark = (
        ":x:"
        if tally.new or tally.gone
        else ":warning:"
        if tally.inconclusive or tally.unjudged
        else ":white_check_mark:"
    )
    yield f"## {mark} difftest: {cell(headline(tally))}"
    yield ""
    yield cell(", ".join(counts(tally)))
    # Tests of an image's own with one cause are one line.
    findings = [(pair, group) for pair in whole.pairs for group in _lines_of(pair.findings)]
    if findings:
        yield ""
        yield "| case | check | verdict | | sides | said |"
        yield "|---|---|---|---|---|---|"
    for _, group in findings:
        result = group[0]
        cells = [
            result.case,
            title(result) if len(group) == 1 else titles(group),
            result.label + (f" {result.boots}" if result.boots else ""),
            standing(result),
        ]
        cells += [targets(result), statuses(result)]
        yield f"| {' | '.join(cell(words) for words in cells)} |"
    for pair, group in findings[:MOST_FINDINGS]:
        yield from _finding(pair, group)
    if len(findings) > MOST_FINDINGS:
        yield f"\n{len(findings) - MOST_FINDINGS} more are in the report."
    yield ""
    names, lines = environments(whole.pairs, whole.meta)
    yield f"| | {' | '.join(cell(name) for name in names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for line in lines:
        if line.key in IDENTITY:
            yield f"| {cell(line.key)} | {' | '.join(cell(value, 120) for value in line.values)} |"
    yield ""
    yield f"Run {cell(whole.meta.run)}, difftest {cell(whole.meta.tool_version)}, {cell(whole.meta.started)}."


def _lines_of(results: Sequence[Result]) -> Iterator[list[Result]]:
    for group in grouped(results):
        if group[0].own:
            yield group
        else:
            yield from ([result] for result in group)


def _finding(pair: Pair, group: Sequence[Result]) -> Iterator[str]:
    yield ""
    result = group[0]
    name = title(result) if len(group) == 1 else titles(group)
    kind = cell(standing(result) or result.verdict)
    yield f"**{cell(result.case)} / {cell(name)}** ({kind}): {cell(paragraph(result), 2000)}"
    yield ""
    # An indented block: no text can end it, where a fence could be closed by one.
    yield f"    {visible(reproduce(pair, result), 500)}"
