"""A big run by families: how many checks of each case have each verdict, and what of them diverges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from difftest.judging.result import Result
from difftest.report.digest import notable, standing
from difftest.verdict import Verdict

FEW = 20  # up to so many results a run is small, and is reported check by check
FIRST = ["new", "gone", "", "known"]  # the order of what a reader must look at; "" has no verdict


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one case. `findings` are those that a reader must look at, what nobody expected first."""

    name: str
    counts: dict[Verdict, int]
    findings: list[Result]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def unexpected(self) -> int:
        return sum(standing(result) != "known" for result in self.findings)

    @property
    def words(self) -> str:
        """What is to be looked at, in numbers: "45 of 120: KVM wrong 20, Bochs wrong 25; 3 not known"."""
        labels = Counter(result.label for result in self.findings)
        kinds = ", ".join(f"{label} {many}" for label, many in labels.most_common())
        unknown = f"; {self.unexpected} not known" if self.unexpected else ""
        return f"{len(self.findings)} of {self.total}: {kinds}{unknown}"


def families(results: Sequence[Result]) -> list[Family]:
    """Those with something unexpected first, else in the order of the results."""
    members: dict[str, list[Result]] = {}
    for result in results:
        members.setdefault(result.case, []).append(result)
    found = [
        Family(
            name=name,
            counts=dict(Counter(result.verdict for result in of_it)),
            findings=in_order(result for result in of_it if notable(result)),
        )
        for name, of_it in members.items()
    ]
    return sorted(found, key=lambda one: not one.unexpected)


def in_order(results: Iterable[Result]) -> list[Result]:
    """What nobody expected first."""
    return sorted(results, key=lambda result: FIRST.index(standing(result)))


def verdicts(found: Iterable[Family]) -> list[Verdict]:
    """The columns of the table of families."""
    there = {verdict for family in found for verdict in family.counts}
    return [verdict for verdict in Verdict if verdict in there]
