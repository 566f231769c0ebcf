"""What happened from run to run: what was seen for the first time, what a newer version repairs, and what changed
although the versions did not. And from version to version: what each repaired and broke.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence

import msgspec

from difftest.history.faults import DIFFERS, VersionFault
from difftest.history.ledger import BAD, GOOD, VERDICTS, Ledger
from difftest.history.stored import moment
from difftest.verdict import MEANINGS

WEEK = 7 * 24 * 3600.0
MOST = 2000  # changes with the same versions that are kept, the newest


class EventKind(enum.StrEnum):
    """The words are the headings of a list of them."""

    NEW = "seen for the first time"
    FIXED = "right in a newer version"
    CHANGED = "changed with the same versions"


class NewsItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run brought. `fault` is a place in the list of faults, None for a change of verdict."""

    kind: EventKind
    run: int
    check: int
    column: int
    who: str = ""
    words: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """From one version to the next of those tried: faults, by their places in the list."""

    before: str
    after: str
    fixed: list[int]
    new: list[int]


def events(ledger: Ledger, faults: Sequence[VersionFault]) -> list[NewsItem]:
    """The newest first."""
    found: list[NewsItem] = []
    sides = {False: "subject", True: "reference"}
    frame = ledger.frame
    by_check = dict(list(frame.groupby(frame["check"].astype(int))))
    firsts: set[tuple[int, int]] = set()
    for fault in faults:
        rows = by_check[fault.check]
        side = "differs" if fault.who == DIFFERS else sides[fault.of_reference]
        column = int(rows[(rows["run"] == fault.first) & (rows[side] == BAD)]["column"].iloc[0])
        firsts.add((fault.check, fault.first))
        where = ledger.columns[column].words
        found.append(
            NewsItem(
                kind=EventKind.NEW,
                run=fault.first,
                check=fault.check,
                column=column,
                who=fault.who,
                words=f"on {where}",
            )
        )
        if version := fault.span.fixed_in:
            names = [one.bochs if fault.of_reference else one.version for one in ledger.columns]
            right = rows[
                (rows[side] == GOOD) & rows["column"].isin([n for n, name in enumerate(names) if name == version])
            ]
            if not right.empty:
                last = [one for one, state in fault.span.decided if state == BAD][-1]
                found.append(
                    NewsItem(
                        kind=EventKind.FIXED,
                        run=int(right["run"].iloc[0]),
                        check=fault.check,
                        column=int(right["column"].iloc[0]),
                        who=fault.who,
                        words=f"{version} is right, {last} is wrong",
                    )
                )
    found += [one for one in _changes(ledger) if (one.check, one.run) not in firsts]
    return sorted(found, key=lambda one: (-one.run, list(EventKind).index(one.kind), one.check))


def _changes(ledger: Ledger) -> list[NewsItem]:
    """Verdicts that are not those of the run before in the same column."""
    decided = [place for place, verdict in enumerate(VERDICTS) if MEANINGS[verdict].decided]
    rows = ledger.frame[ledger.frame["verdict"].isin(decided)]
    before = rows.groupby(["check", "column"], sort=False)["verdict"].shift()
    changed = rows.assign(before=before)[before.notna() & (before != rows["verdict"])].tail(MOST)
    names = ["run", "check", "column", "before", "verdict"]
    return [
        NewsItem(
            kind=EventKind.CHANGED,
            run=run,
            check=check,
            column=column,
            words=f"{VERDICTS[was]} before, {VERDICTS[now]} now, on {ledger.columns[column].words}",
        )
        for run, check, column, was, now in changed[names].astype(int).to_numpy().tolist()
    ]


def of_last_week(ledger: Ledger, found: Sequence[NewsItem]) -> list[NewsItem]:
    """Those of the seven days up to the newest run."""
    if not ledger.runs:
        return []
    begin = moment(ledger.runs[-1].meta.started) - WEEK
    return [event for event in found if moment(ledger.runs[event.run].meta.started) >= begin]


def steps(faults: Sequence[VersionFault]) -> list[Step]:
    """Each pair of neighbouring versions in which something was repaired or broken, for each implementation."""
    found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    for number, fault in enumerate(faults):
        decided = fault.span.decided
        for (before, was), (after, now) in itertools.pairwise(decided):
            if was != now:
                found.setdefault((before, after), ([], []))[now == BAD].append(number)
    return [Step(before=before, after=after, fixed=fixed, new=new) for (before, after), (fixed, new) in found.items()]
