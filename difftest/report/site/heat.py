"""The heat map's data: a letter for each check and column, as JSON that the page's script draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup

from difftest.history.ledger import VERDICTS, Ledger
from difftest.report.matrix import LETTERS, NOT_RUN
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict

MOST_COLUMNS = 240
MOST_CELLS = 300_000
MOST_MIXED = 20_000  # cells whose runs did not all show the same, of which the numbers are given
LONGEST_NAME = 120
LONGEST_SUMMARY = 200
# The gravest first: what a family's cell shows.
GRAVITY = [
    Verdict.SUBJECT_WRONG, Verdict.BOTH_WRONG, Verdict.BY_HOST, Verdict.SHARED, Verdict.REFERENCE_WRONG, Verdict.DIFFER,
    Verdict.FLAKY, Verdict.INCONCLUSIVE, Verdict.AGREE, Verdict.SKIPPED,
]  # fmt: skip


def shown_columns(ledger: Ledger) -> list[int]:
    """The places of the columns that fit: of more those of the newest runs."""
    newest = ledger.frame.groupby("column")["run"].max().sort_values(ascending=False)
    return sorted(int(column) for column in newest.index[:MOST_COLUMNS])


def heat_data(ledger: Ledger, pages: Mapping[int, str], words: Mapping[Verdict, str]) -> Markup:
    """JSON for a script element. `pages` has the address of each check that has a page."""
    columns = shown_columns(ledger)
    place = {column: number for number, column in enumerate(columns)}
    cells = [[NOT_RUN] * len(columns) for _ in ledger.checks]
    for check, column, verdict in ledger.newest()[["check", "column", "verdict"]].to_numpy():
        if column in place:
            cells[check][place[column]] = LETTERS[VERDICTS[verdict]]
    mixed = _mixed(ledger, place)
    order = sorted(range(len(ledger.checks)), key=lambda number: (number not in pages, number))
    kept = sorted(order[: max(1, MOST_CELLS // max(1, len(columns)))])
    runs = ledger.frame.groupby("column")["run"].agg(["nunique", "max"])
    data = {
        "columns": [
            [
                *(visible(one, 60) for one in msgspec.structs.astuple(ledger.columns[column])),
                int(runs["nunique"][column]),
                visible(ledger.runs[int(runs["max"][column])].meta.started[:10], 20),
            ]
            for column in columns
        ],
        "checks": [
            [
                visible(_family(ledger, number), LONGEST_NAME),
                visible(ledger.checks[number].check, LONGEST_NAME),
                visible(ledger.abouts[number].summary, LONGEST_SUMMARY),
                pages.get(number, ""),
                "".join(cells[number]),
                mixed.get(number, {}),
            ]
            for number in kept
        ],
        "verdicts": {letter: [verdict.value, words[verdict]] for verdict, letter in LETTERS.items()},
        "diverging": "".join(letter for verdict, letter in LETTERS.items() if MEANINGS[verdict].diverges),
        "gravity": "".join(LETTERS[verdict] for verdict in GRAVITY),
    }
    return script_json(data)


def _family(ledger: Ledger, number: int) -> str:
    """The case; with the implementation where several were tried."""
    check = ledger.checks[number]
    several = len({one.implementation for one in ledger.checks}) > 1
    return f"{check.case} ({check.implementation})" if several else check.case


def _mixed(ledger: Ledger, place: Mapping[int, int]) -> dict[int, dict[str, dict[str, int]]]:
    """How often each verdict was there, for cells in which it was not always the same."""
    counts = ledger.frame.groupby(["check", "column", "verdict"]).size().reset_index(name="times")
    several = counts[counts.duplicated(["check", "column"], keep=False)]
    found: dict[int, dict[str, dict[str, int]]] = {}
    for check, column, verdict, times in several.head(MOST_MIXED).to_numpy():
        if column in place:
            cell = found.setdefault(int(check), {}).setdefault(str(place[column]), {})
            cell[VERDICTS[verdict].value] = int(times)
    return found


def script_json(value: Any) -> Markup:
    """JSON in which nothing ends a script element or begins a comment in it."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
