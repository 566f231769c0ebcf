"""What the page of one check shows: the newest run of each column, and for each kind of verdict the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from difftest.errors import StoreError
from difftest.history.ledger import VERDICTS, Ledger
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.report.digest import Pair, SideReport, choices
from difftest.report.field_values import spelled
from difftest.report.html import picture
from difftest.report.words import called, paragraph, reproduce, required
from difftest.run.metadata import CaseSnapshot
from difftest.text import visible
from difftest.verdict import MEANINGS
from emulators.target import Names

MOST_GROUPS = 8  # kinds of verdict, of fields and of what was seen, on one page
MOST_LINES = 12
MOST_CELLS = 400
Seen = tuple[int, Result, str]  # a run's place, the newest result of a column, and the column in words


class Cell(NamedTuple):
    """One check in one column: the newest run there, what it showed, and how many there are."""

    column: int
    run: int
    verdict: int
    runs: int


class CaseEvidence:
    """The newest results of one case in all columns. Read once, for all its checks."""

    def __init__(self, ledger: Ledger, case: str, newest: Mapping[int, Sequence[Cell]]) -> None:
        """`newest` has the cells of each check of the case."""
        self._ledger = ledger
        self._newest = newest
        self._results: dict[tuple[int, str, str], list[Result]] = {}
        self._cases: dict[int, CaseSnapshot] = {}
        self._boots: dict[int, dict[str, list[BootReading]]] = {}
        for number in sorted({cell.run for cells in newest.values() for cell in cells}):
            run = ledger.runs[number]
            try:
                self._cases[number] = next(one for one in run.cases() if one.name == case)
                for result in run.results(case):
                    key = number, result.check, result.subject.implementation
                    self._results.setdefault(key, []).append(result)
            except (StoreError, StopIteration):
                continue  # changed since the ledger was made: the page has no evidence of it

    def cells(self, check: int) -> list[dict[str, Any]]:
        """The lines of the table: each column's newest verdict."""
        names = {
            "reference": self._ledger.abouts[check].reference,
            "subject": self._ledger.checks[check].implementation,
        }
        return [
            {
                "words": self._ledger.columns[cell.column].words,
                "verdict": VERDICTS[cell.verdict],
                "label": MEANINGS[VERDICTS[cell.verdict]].words.format(**names),
                "run": self._ledger.runs[cell.run].meta.run,
                "started": self._ledger.runs[cell.run].meta.started[:16],
                "runs": cell.runs,
            }
            for cell in self._newest[check][-MOST_CELLS:]
        ]

    def groups(self, check: int) -> list[dict[str, Any]]:
        """What diverges or has no verdict, one article for all columns that showed the same, the newest run first."""
        found: dict[Any, list[Seen]] = {}
        of_it = self._ledger.checks[check]
        for cell in sorted(self._newest[check], key=lambda cell: -cell.run):
            for result in self._results.get((cell.run, of_it.check, of_it.implementation), []):
                if not MEANINGS[result.verdict].diverges and MEANINGS[result.verdict].decided:
                    continue
                values = tuple((field.name, *sorted(field.values.items())) for field in result.fields if field.compared)
                seen = cell.run, result, self._ledger.columns[cell.column].words
                found.setdefault((result.verdict, values or result.reason), []).append(seen)
                break
        return [self._group(seen) for seen in list(found.values())[:MOST_GROUPS]]

    def _group(self, seen: Sequence[Seen]) -> dict[str, Any]:
        number, result, _ = seen[0]
        run, case = self._ledger.runs[number], self._cases[number]
        trouble, sides = "", []
        try:
            sides = self._sides(number, result)
        except StoreError as error:
            trouble = f"Its boots cannot be read: {error}"
        pair = Pair(case=case, sides=sides, results=[result], choices=choices(run.meta.command))
        link = result.known.link if result.known else ""
        return {
            "verdict": result.verdict.value,
            "label": result.label,
            "where": [words for _, _, words in seen],
            "paragraph": paragraph(result),
            "link": link if link.startswith(("https://", "http://")) else "",
            "sides": [called(side) for side in result.sides],
            "fields": list(_fields(result)),
            "evidence": [_shown(side.of(result), result) for side in sides if side.boots],
            "trouble": trouble,
            "reproduce": reproduce(pair, result, public=True),
            "run": run.meta.run,
            "started": run.meta.started[:16],
            "tool": run.meta.tool_version,
        }

    def _sides(self, number: int, result: Result) -> list[SideReport]:
        if number not in self._boots:
            self._boots = {
                number: self._ledger.runs[number].boots(result.case)
            }  # that of one run alone is kept: it may be large
        return [
            SideReport(
                role=side.role,
                names=Names(target=side.target, implementation=side.implementation),
                boots=self._boots[number].get(side.target, []),
            )
            for side in result.sides
        ]


def _fields(result: Result) -> Iterator[dict[str, Any]]:
    for field in result.fields:
        yield {
            "name": field.name,
            "required": "; ".join(required(result, field)),
            "given": [
                (
                    spelled(field.name, field.values[side.target]) if side.target in field.values else "absent",
                    field.broken(side.target),
                )
                for side in result.sides
            ],
        }


def _shown(side: SideReport, result: Result) -> dict[str, Any]:
    """A side's own words on the check: its lines, the rows of its screen, how it ended."""
    observation = side.observation
    assert observation is not None
    own = [
        line for line in visible(observation.words, 1 << 20, lines=True).split("\n") if _speaks_of(line, result.check)
    ]
    rows = [
        f"row {row}: {reading.memory.strip()}" for row, reading in side.screen.rows.items() if reading.memory.strip()
    ]
    lines = [*own[-MOST_LINES:], *rows, *_faults(observation.kernel_faults)]
    if side.terminal_line and side.terminal_line not in lines:
        lines.append(side.terminal_line)
    return {
        "name": f"{side.names.implementation} ({side.names.target})",
        "ending": f"{observation.ending.value}: {observation.detail}",
        "lines": [visible(line, 2000) for line in lines],
        "picture": picture(observation.screen) if rows else None,
    }


def _speaks_of(line: str, check: str) -> bool:
    return check in line.split(" ")


def _faults(faults: Iterable[Any]) -> list[str]:
    return [f"kernel log: {fault.line}" for fault in faults]
