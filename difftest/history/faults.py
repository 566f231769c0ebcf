"""Faults over versions: who shows one, since which version, and in which it is repaired.

From what the newest run of each column showed. The versions are in the order of their numbers, and nothing is said of
those that were not tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Set

import msgspec

from difftest.history.ledger import BAD, GOOD, NONE, Ledger
from difftest.history.versions import order

DIFFERS = "differ"  # in the place of who shows it, where nothing says which side is wrong


class VersionSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The versions that were tried, in their order, and what each showed."""

    versions: list[str]
    states: list[int]
    mixed: list[str] = []  # that showed both, with different counterparts

    @property
    def decided(self) -> list[tuple[str, int]]:
        return [(one, state) for one, state in zip(self.versions, self.states, strict=True) if state != NONE]

    @property
    def since(self) -> str:
        """The first version that shows it, in words."""
        before = None
        for version, state in self.decided:
            if state == BAD:
                return f"{version} ({before} is right)" if before else f"{version} or before"
            before = version
        return ""

    @property
    def fixed_in(self) -> str:
        """The version from which on it is gone, or "" where the newest shows it."""
        last_bad = max((place for place, (_, state) in enumerate(self.decided) if state == BAD), default=-1)
        after = self.decided[last_bad + 1 :]
        return after[0][0] if after and last_bad >= 0 else ""

    @property
    def words(self) -> str:
        """All in one line."""
        bad = [version for version, state in self.decided if state == BAD]
        if not bad:
            return ""
        if len(bad) == len(self.decided):
            return f"{bad[0]}, the only one tried" if len(bad) == 1 else f"all {len(bad)} tried, {bad[0]} to {bad[-1]}"
        if _turns([state for _, state in self.decided]) > 2:
            return ", ".join(bad)
        if self.fixed_in:
            return f"since {self.since}, fixed in {self.fixed_in}"
        return f"since {self.since}, also in {bad[-1]}" if bad[-1] != bad[0] else f"since {self.since}"


class VersionFault(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's divergence in one check. `first` and `last` are places of runs that showed it."""

    check: int
    who: str  # an implementation, or DIFFERS
    of_reference: bool = False
    span: VersionSpan
    first: int
    last: int


def faults(ledger: Ledger) -> list[VersionFault]:
    """All faults that some run showed, in the order of the checks."""
    found: list[VersionFault] = []
    versions = [column.version or column.implementation for column in ledger.columns]
    references = [column.bochs or "Bochs" for column in ledger.columns]
    newest = ledger.newest()
    for side, axis in (("subject", versions), ("reference", references), ("differs", versions)):
        rows = ledger.frame[ledger.frame[side] == BAD]
        if rows.empty:
            continue
        ends = rows.groupby("check")["run"].agg(["min", "max"])
        there = newest[newest["check"].isin(ends.index)]
        # A version shows a fault if it does so beside any counterpart.
        spans: dict[int, dict[str, set[int]]] = {}
        for check, column, shows in there[["check", "column", side]].to_numpy():
            spans.setdefault(int(check), {}).setdefault(axis[column], set()).add(int(shows))
        for check, (first, last) in zip(ends.index, ends.to_numpy(), strict=True):
            of_it = ledger.checks[check]
            who = {"subject": of_it.implementation, "reference": ledger.abouts[check].reference}.get(side, DIFFERS)
            found.append(
                VersionFault(
                    check=int(check),
                    who=who,
                    of_reference=side == "reference",
                    span=span(spans[int(check)]),
                    first=int(first),
                    last=int(last),
                )
            )
    return sorted(found, key=lambda fault: (fault.check, fault.of_reference, fault.who))


def span(shown: Mapping[str, Set[int]]) -> VersionSpan:
    """What each version showed in any of its columns."""
    versions = sorted(shown, key=order)
    states = [BAD if BAD in shown[one] else GOOD if GOOD in shown[one] else NONE for one in versions]
    return VersionSpan(versions=versions, states=states, mixed=[one for one in versions if {GOOD, BAD} <= shown[one]])


def _turns(states: Sequence[int]) -> int:
    return sum(one != other for one, other in itertools.pairwise(states))
