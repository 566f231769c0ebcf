"""Judging a stored run again, after a rule changed: a `[[known]]` entry, a regular expression of a case, or the judge
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from difftest.case.manifest import Manifest
from difftest.judging.confirmation import confirmed
from difftest.judging.judge import judge, missing
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Result, Role, Side
from difftest.reading.boot_reading import BootReading
from difftest.run.metadata import CaseSnapshot, Refusal
from difftest.run.store import StoredRun
from emulators.target import Names

HOSTING = "hosting bochs"  # the key of the identity of a target that runs on an emulated CPU
EMULATED = "Bochs"
NOT_OBSERVED = "this run did not boot the image on it directly"
ManifestOf = Callable[[CaseSnapshot], Manifest]


class VerdictChange(msgspec.Struct, frozen=True, kw_only=True):
    """One check that is judged otherwise; None where there was, or is, no such result."""

    before: Result | None
    after: Result | None

    @property
    def words(self) -> str:
        """The change in one line."""
        one = self.after or self.before
        assert one is not None
        return f"{one.case} / {one.check} on {one.subject.target}: {_in_words(self.before)} -> {_in_words(self.after)}"


def rejudge(run: StoredRun, case: CaseSnapshot, manifest: Manifest) -> list[Result]:
    """The results of one case from what was observed.

    Raises StoreError for a run that cannot be read.
    """
    boots, refusals = run.boots(case.name), {one.target: one for one in run.refusals(case.name)}
    results: list[Result] = []
    stored = {(one.reference.target, one.subject.target): one for one in run.results(case.name)}
    for (reference, subject), first in stored.items():
        host = _host(run, boots, reference, subject, refusals)
        sides = [
            SideBoots(role=Role.REFERENCE, names=_names(first.reference), boots=boots.get(reference, [])),
            *([host] if host else []),
            SideBoots(role=Role.SUBJECT, names=_names(first.subject), boots=boots.get(subject, [])),
        ]
        pairing = Pairing(manifest=manifest, abouts=case.checks, whole=case.whole, sides=sides)
        refusal = refusals.get(reference) or refusals.get(subject)
        if refusal is not None:
            results += missing(pairing, refusal.verdict, refusal.reason)
        elif not sides[0].boots or not sides[-1].boots:  # schema 1 kept no refusals: their results are what is left
            pairs = [(one, one.reference.target, one.subject.target) for one in run.results(case.name)]
            results += [one for one, left, right in pairs if (left, right) == (reference, subject)]
        else:
            results += judge(pairing)
    return confirmed(results, run.confirmations(case.name))


def _host(
    run: StoredRun,
    boots: Mapping[str, Sequence[BootReading]],
    reference: str,
    subject: str,
    refusals: Mapping[str, Refusal],
) -> SideBoots | None:
    """What was observed of the emulated CPU under a subject; None where there is none."""
    identity = run.meta.identities.get(subject, {})
    host = run.meta.hosts.get(subject)
    if host is None and HOSTING not in identity:
        return None
    names = Names(target=host.target if host and host.target else reference, implementation=EMULATED)
    if host is not None and host.target in boots:
        return SideBoots(role=Role.HOST_CPU, names=names, boots=boots[host.target])
    direct = boots.get(reference, []) if host is None or not host.missing else []
    # Schema 1 has no identity of the CPU itself.
    former = {"bochs": identity.get(HOSTING, ""), "cpu model": identity.get("hosting cpu model", "")}
    cpu = run.meta.identities.get(host.target, former) if host else former
    if direct and all(direct[0].observation.identity.get(key) == one for key, one in cpu.items()):
        return SideBoots(role=Role.HOST_CPU, names=_named(run, reference), boots=direct)
    refusal = refusals.get(host.target) if host else None
    why = (refusal.reason if refusal else host.missing if host else "") or NOT_OBSERVED
    return SideBoots(role=Role.HOST_CPU, names=names, missing=why)


def _names(side: Side) -> Names:
    return Names(target=side.target, implementation=side.implementation)


def _named(run: StoredRun, target: str) -> Names:
    return run.meta.targets.get(target) or Names(target=target, implementation=EMULATED)


def changes(before: list[Result], after: list[Result]) -> list[VerdictChange]:
    """The checks whose verdict, standing or reason is another one."""
    olds, news = (
        {(one.check, one.reference.target, one.subject.target): one for one in results} for results in (before, after)
    )
    both = ((olds.get(key), news.get(key)) for key in dict.fromkeys([*olds, *news]))
    return [VerdictChange(before=old, after=new) for old, new in both if _in_words(old) != _in_words(new)]


def _in_words(result: Result | None) -> str:
    if result is None:
        return "nothing"
    standing = "" if result.expected else " (unexpected)"
    return f"{result.label}{standing}: {result.reason}"
