"""The history in the terminal: a line for each fault, and from version to version how many were fixed."""

from __future__ import annotations

from typing import IO

from rich import box
from rich.table import Table
from rich.text import Text

from difftest.history.faults import faults
from difftest.history.ledger import Ledger
from difftest.history.news import steps
from difftest.report.terminal import console_for
from difftest.text import visible


def show(ledger: Ledger, file: IO[str], *, width: int | None = None) -> None:
    """Print all faults with the versions that show them."""
    console = console_for(file, width)
    found = faults(ledger)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("case", "check", "who", "in which versions"):
        table.add_column(heading, overflow="fold")
    for fault in found:
        check = ledger.checks[fault.check]
        cells = (check.case, check.check, fault.who, fault.span.words)
        table.add_row(*(Text(visible(one, 300), "" if fault.span.fixed_in else "bold") for one in cells))
    if found:
        console.print(table)
    for step in steps(found):
        words = f"{step.before} -> {step.after}: {len(step.fixed)} fixed, {len(step.new)} new"
        console.print(Text(visible(words, 300)))
    console.print(Text(f"{len(found)} divergences in {len(ledger.runs)} runs"))
    for trouble in ledger.troubles:
        console.print(Text(f"not read: {trouble}", "yellow"))
