"""Several runs in the terminal as one table: checks by versions, and what changed between them.

A few versions have a column each with the verdict in words; of many each has a letter, explained above the table, and
so has each verdict. Rows are grouped by the side that is wrong. Checks on which all versions agree are counted, not
listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from difftest.history.compare import Change, Comparison, ComparisonRow
from difftest.report.terminal import console_for
from difftest.text import visible
from difftest.verdict import Verdict

STYLES = {
    Change.NEW: "bold red",
    Change.FIXED: "green",
    Change.CHANGED: "yellow",
    Change.SAME: "dim",
    Change.UNKNOWN: "yellow",
}
MOST_IN_WORDS = 4  # runs whose verdicts are written in words
LETTERS = {
    Verdict.AGREE: ".",
    Verdict.SUBJECT_WRONG: "K",
    Verdict.REFERENCE_WRONG: "R",
    Verdict.BOTH_WRONG: "2",
    Verdict.SHARED: "S",
    Verdict.BY_HOST: "H",
    Verdict.DIFFER: "d",
    Verdict.FLAKY: "f",
    Verdict.INCONCLUSIVE: "?",
    Verdict.SKIPPED: "-",
}
NOT_RUN = " "
ORDER = [verdict for verdict in LETTERS if verdict != Verdict.AGREE]


def show(comparison: Comparison, file: IO[str], *, width: int | None = None) -> None:
    """Print the table, what the changes are in numbers, and what makes the comparison weaker than it looks."""
    console = console_for(file, width)
    many = len(comparison.runs) > MOST_IN_WORDS
    listed = [row for row in comparison.rows if set(row.verdicts) != {Verdict.AGREE}]
    listed.sort(key=_side)
    columns = list(ascii_uppercase[: len(comparison.runs)]) if many else comparison.versions
    if many:
        _legend(console, dict(zip(columns, comparison.versions, strict=False)), listed)
    console.print(_table(comparison, listed, columns, many=many))
    if left_out := len(comparison.rows) - len(listed):
        console.print(Text(f"{left_out} more checks agree with every version", "dim"))
    for row in listed:
        _remarks(console, comparison, row)
    for note in comparison.notes:
        console.print(Text(visible(f"note: {note}", 400), "yellow"))
    counts = Counter(change for row in comparison.rows for change in row.changes)
    console.print(
        Text(", ".join(f"{counts[change]} {change}" for change in Change if counts[change]) or "nothing to compare")
    )
    console.print(Text(f"runs: {' '.join(comparison.runs)}", "dim"))


def _side(row: ComparisonRow) -> int:
    """Where a row is listed: by the first verdict of ORDER that a version has."""
    return next((place for place, verdict in enumerate(ORDER) if verdict in row.verdicts), len(ORDER))


def _legend(console: Console, columns: Mapping[str, str], rows: Sequence[ComparisonRow]) -> None:
    for letter, version in columns.items():
        console.print(Text(visible(f"{letter}  {version}", 200)))
    words = {verdict: cell for row in rows for verdict, cell in zip(row.verdicts, row.cells, strict=True) if verdict}
    parts = [f"{LETTERS[verdict]} {words.get(verdict, verdict.value)}" for verdict in LETTERS if verdict in words]
    console.print(Text(visible(", ".join(parts), 600), "dim"))


def _table(comparison: Comparison, rows: Sequence[ComparisonRow], columns: Sequence[str], *, many: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    several = len({row.subject for row in comparison.rows}) > 1
    for name in ("case", "check", *(["target"] if several else [])):
        table.add_column(Text(visible(name, 100)), no_wrap=True)
    for name in columns:
        table.add_column(Text(visible(name, 100)), overflow="fold")
    table.add_column("change", overflow="fold")
    for row in rows:
        subject = [Text(visible(row.subject, 60))] if several else []
        if many:
            cells = [Text(LETTERS[verdict] if verdict else NOT_RUN) for verdict in row.verdicts]
        else:
            cells = [Text(cell or "not run") for cell in row.cells]
        changed = _changes(columns, row)
        table.add_row(Text(visible(row.case, 80)), Text(visible(row.check, 120)), *subject, *cells, changed)
    return table


def _remarks(console: Console, comparison: Comparison, row: ComparisonRow) -> None:
    """What is to be said of a row beside its cells: why there is no verdict, and what the versions together say."""
    for heading, verdict, reason in zip(comparison.versions, row.verdicts, row.reasons, strict=True):
        if verdict == Verdict.INCONCLUSIVE:
            words = f"{row.case} / {row.check}: no verdict with {heading}: {reason}"
            console.print(Text(visible(words, 600), "yellow"))
    if row.hint:
        console.print(Text(visible(f"{row.case} / {row.check}: {row.hint}", 600), "yellow"))


def _changes(columns: Sequence[str], row: ComparisonRow) -> Text:
    """What changed and in which versions, a line for each kind; one word when it is the same everywhere. That nothing
    is known of a version which did not run the check goes without saying.
    """
    versions: dict[Change, list[str]] = {}
    for change, heading, verdict in zip(row.changes, columns[1:], row.verdicts[1:], strict=True):
        if change != Change.SAME and (verdict is not None or len(row.changes) == 1):
            versions.setdefault(change, []).append(heading)
    cells = [
        Text(visible(f"{change} in {', '.join(names)}" if len(row.changes) > 1 else change, 300), STYLES[change])
        for change, names in versions.items()
    ]
    same = Change.SAME if Change.UNKNOWN not in row.changes else ""
    return Text("\n").join(cells) if cells else Text(same, STYLES[Change.SAME])
