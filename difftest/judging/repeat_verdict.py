"""The verdict on one check in one repeated boot, and the result that is made of it: with what is known of the check."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from difftest.case.manifest import About, KnownDivergence
from difftest.judging.evidence import (
    Evidence,
)
from difftest.judging.known import applying, covers, describes
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Field, Result, Role, Side
from difftest.verdict import MEANINGS, Status, Verdict

# What is left of a known verdict when one of its sides does what the SDM requires.
REPAIRED = {
    Verdict.BOTH_WRONG: (Verdict.REFERENCE_WRONG, Verdict.SUBJECT_WRONG),
    Verdict.SHARED: (Verdict.REFERENCE_WRONG,),
}


class RepeatVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One check in one repeated boot of all sides."""

    verdict: Verdict
    reason: str
    hints: list[str] = []
    evidence: dict[Role, Evidence] = {}
    fields: list[Field] = []
    unpaired: bool = False  # of a boot of one side that has no counterpart


def result_of(pairing: Pairing, about: About, outcome: RepeatVerdict, boots: str = "") -> Result:
    result = Result(
        case=pairing.manifest.name,
        check=about.check,
        sdm=about.sdm,
        summary=about.summary,
        sides=_sides(pairing, outcome.evidence),
        verdict=outcome.verdict,
        reason=outcome.reason,
        hints=outcome.hints,
        fields=outcome.fields,
        boots=boots,
        own=any(one.record.own for one in outcome.evidence.values()),
        expected=not MEANINGS[outcome.verdict].diverges and MEANINGS[outcome.verdict].decided,
    )
    entries = entries_of(pairing, about.check)
    if not entries:
        return result
    foreseen = next((one for one in entries if covers(one, result)), None)
    if foreseen is not None:
        return msgspec.structs.replace(result, known=foreseen, expected=True)
    if outcome.verdict == Verdict.AGREE:
        reason = f"a known divergence is gone: {entries[0].reason}"
        return msgspec.structs.replace(result, known=entries[0], expected=False, reason=reason)
    left = [one for one in entries if result.verdict in REPAIRED.get(one.verdict, ()) and describes(one, result)]
    repaired = next(iter(left), None)
    if repaired is not None:
        reason = f"one side of a known divergence is repaired: {repaired.reason}; what is left: {result.reason}"
        return msgspec.structs.replace(result, known=repaired, reason=reason)
    if result.diverges:
        hint = f"another divergence of this check is known: {entries[0].reason}"
        return msgspec.structs.replace(result, hints=[*result.hints, hint])
    return result


def _sides(pairing: Pairing, evidence: Mapping[Role, Evidence]) -> list[Side]:
    """The sides as they are stored. A reference that is also the CPU under the subject is one side; a CPU that gave
    nothing of a check is one where the verdict needs it.
    """
    sides = []
    for booted in pairing.sides:
        one = evidence.get(booted.role)
        if booted.role == Role.HOST_CPU and (
            one is None
            or is_reference(pairing, booted)
            or (one.status == Status.NOT_REPORTED and not evidence[Role.SUBJECT].status.bad)
        ):
            continue
        sides.append(
            Side(
                role=booted.role,
                target=booted.names.target,
                implementation=booted.names.implementation,
                status=one.status if one else Status.NOT_REPORTED,
                reason=one.reason if one else "",
            )
        )
    return sides


def entries_of(pairing: Pairing, check: str) -> list[KnownDivergence]:
    return applying(pairing.manifest.known, check, pairing.subject.names.target, pairing.versions)


def is_reference(pairing: Pairing, side: SideBoots) -> bool:
    return side.names.target == pairing.reference.names.target
