"""Writes the site: an index, a page for each check that diverged anywhere, and a feed.

Nothing is loaded from a network, and all text goes through the one door for guest text and then through escaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from difftest.atomic import file_name, write, writing
from difftest.history.faults import DIFFERS, VersionFault, faults
from difftest.history.ledger import VERDICTS, Ledger
from difftest.history.news import EventKind, NewsItem, events, of_last_week, steps
from difftest.history.versions import order
from difftest.report.html import finalize
from difftest.report.matrix import LETTERS
from difftest.report.site.charts import charts, drawn
from difftest.report.site.evidence import CaseEvidence, Cell
from difftest.report.site.feed import FeedEntry, feed
from difftest.report.site.heat import MOST_COLUMNS, heat_data, shown_columns
from difftest.verdict import MEANINGS, Verdict

TEMPLATES = Path(__file__).parent
MOST_FAULTS = 1500  # lines of the table of divergences
MOST_TROUBLES = 20
SHOWN_NEWS, MOST_NEWS = 10, 300
CHECKS = "check"  # the folder of the pages of checks


def write_site(ledger: Ledger, folder: Path) -> list[Path]:
    """Write the site into a folder, and return the index and the feed."""
    pages = _Pages(ledger)
    index, atom = folder / "index.html", folder / "feed.xml"
    with writing(folder):
        (folder / CHECKS).mkdir(parents=True, exist_ok=True)
        for name, text in pages.checks():
            write(folder / name, text.encode())
        write(atom, pages.feed())
        write(index, pages.index().encode())
    return [index, atom]


class _Pages:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._faults = faults(ledger)
        self._events = events(ledger, self._faults)
        self._shared = _shared(ledger)
        diverging = [place for place, verdict in enumerate(VERDICTS) if MEANINGS[verdict].diverges]
        rows = ledger.frame[ledger.frame["verdict"].isin(diverging)]
        numbers = {int(number) for number in rows["check"].unique()} | {fault.check for fault in self._faults}
        self._page = {number: f"{CHECKS}/{_page_name(ledger, number)}.html" for number in sorted(numbers)}
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @property
    def title(self) -> str:
        who: dict[str, set[int]] = {}
        for fault in self._faults:
            who.setdefault(fault.who, set()).add(fault.check)
        found = sorted(who.items(), key=lambda one: -len(one[1]))
        words = [
            f"{'the sides differ' if name == DIFFERS else f'{name} is wrong'} in {len(all_)}" for name, all_ in found
        ]
        total = len(self._ledger.checks)
        return f"{', '.join(words)} of {total} checks" if words else f"{total} checks, no divergence"

    @property
    def _extent(self) -> str:
        """What the site was made from."""
        days = [run.meta.started[:10] for run in self._ledger.runs] or ["no run"]
        columns = self._ledger.columns
        kernels, programs = len({one.version for one in columns}), len({one.bochs for one in columns})
        counted = f"runs: {len(self._ledger.runs)}, kernels: {kernels}, versions of Bochs: {programs}"
        return f"{days[0]} to {days[-1]}; {counted}"

    def index(self) -> str:
        ledger = self._ledger
        script = (TEMPLATES / "heat.js").read_text(encoding="utf-8")
        week = of_last_week(ledger, self._events)
        words = {
            verdict: meaning.words.format(reference="Bochs", subject="KVM") for verdict, meaning in MEANINGS.items()
        }
        listed = self._faults[:MOST_FAULTS]
        there = {int(number) for number in ledger.frame["verdict"].unique()}
        rows = {number: self._row(fault) for number, fault in enumerate(self._faults)}
        return self._environment.get_template("index.html.jinja").render(
            title=self.title,
            feed=True,
            script=Markup(script),
            script_source=Markup("'sha256-{}'").format(
                base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            ),
            period=self._extent,
            newest=self._started(len(ledger.runs) - 1) if ledger.runs else "today",
            young=bool(week) and any(event.run == 0 for event in week),
            troubles=ledger.troubles[:MOST_TROUBLES],
            more_troubles=len(ledger.troubles[MOST_TROUBLES:]),
            news=list(self._news(week)),
            families=list(self._families(listed)),
            left_out=len(self._faults) - len(listed),
            steps=[
                {
                    "before": step.before,
                    "after": step.after,
                    "fixed": [rows[one] for one in step.fixed],
                    "new": [rows[one] for one in step.new],
                }
                for step in sorted(steps(self._faults), key=lambda one: (order(one.after), order(one.before)))
            ],
            legend=[(verdict, letter) for verdict, letter in LETTERS.items() if VERDICTS.index(verdict) in there],
            meanings=words,
            columns_left_out=len(ledger.columns) - len(shown_columns(ledger)),
            most_columns=MOST_COLUMNS,
            data=heat_data(ledger, self._page, words),
            charts=drawn(charts(ledger)),
        )

    def checks(self) -> Iterator[tuple[str, str]]:
        """The pages of all checks that diverged, with their names; those of one case after each other."""
        template = self._environment.get_template("check.html.jinja")
        cells = self._cells()
        of_check: dict[int, list[VersionFault]] = {}
        for fault in self._faults:
            of_check.setdefault(fault.check, []).append(fault)
        cases: dict[str, list[int]] = {}
        for number in self._page:
            cases.setdefault(self._ledger.checks[number].case, []).append(number)
        for case, numbers in cases.items():
            evidence = CaseEvidence(self._ledger, case, {number: cells[number] for number in numbers})
            for number in numbers:
                check = self._ledger.checks[number]
                yield (
                    self._page[number],
                    template.render(
                        title=f"{check.check} - difftest history",
                        feed=False,
                        script_source=Markup("'none'"),
                        check=check,
                        about=self._ledger.abouts[number],
                        rows=[self._row(fault) for fault in of_check.get(number, [])],
                        cells=evidence.cells(number),
                        groups=evidence.groups(number),
                    ),
                )

    def feed(self) -> bytes:
        entries = [
            FeedEntry(
                started=self._ledger.runs[event.run].meta.started,
                title=f"{self._name(event)}: {event.kind}",
                words=self._words(event),
                page=self._page.get(event.check, ""),
            )
            for event in self._events
        ]
        return feed("difftest: what is new", entries)

    def _cells(self) -> dict[int, list[Cell]]:
        frame = self._ledger.frame[self._ledger.frame["check"].isin(self._page)]
        found: dict[int, list[Cell]] = {}
        last = frame.groupby(["check", "column"]).agg(
            run=("run", "last"), verdict=("verdict", "last"), runs=("run", "nunique")
        )
        for check, column, run, verdict, runs in last.reset_index().to_numpy():
            found.setdefault(int(check), []).append(Cell(int(column), int(run), int(verdict), int(runs)))
        return found

    def _news(self, week: Sequence[NewsItem]) -> Iterator[dict[str, Any]]:
        for kind in EventKind:
            of_kind = [event for event in week if event.kind == kind]
            items = [
                {
                    "date": self._started(event.run),
                    "name": self._name(event),
                    "page": self._page.get(event.check, ""),
                    "words": self._words(event),
                }
                for event in of_kind[:MOST_NEWS]
            ]
            if items:
                yield {
                    "count": len(of_kind),
                    "heading": kind.value,
                    "first": items[:SHOWN_NEWS],
                    "rest": items[SHOWN_NEWS:],
                    "left_out": len(of_kind) - len(items),
                }

    def _families(self, listed: Sequence[VersionFault]) -> Iterator[dict[str, Any]]:
        families: dict[str, list[VersionFault]] = {}
        for fault in listed:
            families.setdefault(self._ledger.checks[fault.check].case, []).append(fault)
        for number, (name, members) in enumerate(families.items()):
            alive = sum(not fault.span.fixed_in for fault in members)
            yield {
                "number": number,
                "name": name,
                "words": f"divergences: {len(members)}, not fixed: {alive}",
                "rows": [self._row(fault) for fault in members],
            }

    def _row(self, fault: VersionFault) -> dict[str, Any]:
        return {
            "check": self._ledger.checks[fault.check].check,
            "summary": self._ledger.abouts[fault.check].summary,
            "page": self._page[fault.check],
            "who": "the sides differ" if fault.who == DIFFERS else fault.who,
            "shared": not fault.of_reference and fault.check in self._shared,
            "span": fault.span,
            "states": list(zip(fault.span.versions, fault.span.states, strict=True)),
            "first": self._started(fault.first),
            "last": self._started(fault.last),
        }

    def _name(self, event: NewsItem) -> str:
        check = self._ledger.checks[event.check]
        return f"{check.case} / {check.check}"

    def _words(self, event: NewsItem) -> str:
        who = {"": "", DIFFERS: "the sides differ "}.get(
            event.who, f"{event.who} wrong " if event.kind == EventKind.NEW else f"{event.who}: "
        )
        return f"{who}{event.words}"

    def _started(self, run: int) -> str:
        return self._ledger.runs[run].meta.started[:10]


def _page_name(ledger: Ledger, number: int) -> str:
    check = ledger.checks[number]
    return file_name("-".join((check.case, check.check, check.implementation)))


def _shared(ledger: Ledger) -> set[int]:
    """Checks that the subject failed nowhere but where the CPU under it failed, too."""
    blamed = [
        VERDICTS.index(one) for one in (Verdict.SUBJECT_WRONG, Verdict.BOTH_WRONG, Verdict.BY_HOST, Verdict.DIFFER)
    ]
    frame = ledger.frame
    alone = set(frame[frame["verdict"].isin(blamed)]["check"].unique())
    return set(frame[frame["verdict"] == VERDICTS.index(Verdict.SHARED)]["check"].unique()) - alone
