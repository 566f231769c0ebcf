"""Several runs in the terminal as one table: checks by versions, and what changed between them."""

from __future__ import annotations

from collections import Counter
from typing import IO

from rich import box
from rich.table import Table
from rich.text import Text

from difftest.history.compare import Change, Comparison, Row
from difftest.report.terminal import console_for
from difftest.text import visible

STYLES = {
    Change.NEW: "bold red",
    Change.FIXED: "green",
    Change.CHANGED: "yellow",
    Change.SAME: "dim",
    Change.UNKNOWN: "yellow",
}


def show(comparison: Comparison, file: IO[str], *, width: int | None = None) -> None:
    """Print the table, what the changes are in numbers, and what makes the comparison weaker than it looks."""
    console = console_for(file, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    several = len({row.subject for row in comparison.rows}) > 1
    for name in ("case", "check", *(["target"] if several else []), *comparison.versions, "change"):
        table.add_column(Text(visible(name, 100)), overflow="fold")
    for row in comparison.rows:
        subject = [Text(visible(row.subject, 60))] if several else []
        cells = [Text(cell or "not run") for cell in row.cells]
        table.add_row(
            Text(visible(row.case, 80)), Text(visible(row.check, 120)), *subject, *cells, _changes(comparison, row)
        )
    console.print(table)
    for row in comparison.rows:
        for heading, cell, reason in zip(comparison.versions, row.cells, row.reasons, strict=True):
            if cell == "inconclusive":
                console.print(
                    Text(visible(f"{row.case} / {row.check}: no verdict with {heading}: {reason}", 600), "yellow")
                )
    for note in comparison.notes:
        console.print(Text(visible(f"note: {note}", 400), "yellow"))
    counts = Counter(change for row in comparison.rows for change in row.changes)
    console.print(
        Text(", ".join(f"{counts[change]} {change}" for change in Change if counts[change]) or "nothing to compare")
    )
    console.print(Text(f"runs: {' '.join(comparison.runs)}", "dim"))


def _changes(comparison: Comparison, row: Row) -> Text:
    """What changed and in which version; one word when it is the same everywhere."""
    told = [
        Text(visible(f"{change} in {heading}" if len(row.changes) > 1 else change, 120), STYLES[change])
        for change, heading in zip(row.changes, comparison.versions[1:], strict=True)
        if change != Change.SAME
    ]
    return Text("\n").join(told) if told else Text(Change.SAME, STYLES[Change.SAME])
