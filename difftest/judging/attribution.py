"""Whose fault a difference is: the one place where what the sides gave becomes a verdict.

The sides are the reference, the subject, and, where the subject runs on an emulated CPU, that CPU, booted directly.
What a hypervisor leaves to the CPU it inherits from it, and what it writes itself it does not; from outside the two
look alike. So a failure that the CPU under it shares is shared, not the subject's and not acquitted. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from difftest.judging.evidence import Evidence
from difftest.judging.result import Field, Role
from difftest.verdict import IMAGE_SKIPPED, Status, Verdict

BY_EXITS = "whether L0 handles the access (difftest run --exits), "  # one of the things that decide a shared failure
MOST_FIELDS = 3  # that a reason names
_NO_PASS = {
    Role.SUBJECT: (Status.FAIL, Status.DIED, Status.NOT_REPORTED),
    Role.REFERENCE: (Status.NOT_REPORTED,),
}
GOOD = (Status.PASS, Status.OPEN)


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its reason, and what a reader is to consider before it is claimed."""

    verdict: Verdict
    reason: str
    hints: list[str] = []


def attribute(
    sides: Mapping[Role, Evidence], targets: Mapping[Role, str], fields: Sequence[Field], hardware: str
) -> Attribution:
    """The verdict on one check.

    `sides` has no HOST_CPU where the subject runs on no emulated CPU; one that should have been observed and was not
    has the status NOT_REPORTED. `targets` names the sides, `hardware` says what the CPU under the subject is.
    """
    reference, subject = sides[Role.REFERENCE], sides[Role.SUBJECT]
    for role, other in ((Role.SUBJECT, reference), (Role.REFERENCE, subject)):
        # A test of the image's own that one side left out, and that the other did not pass or has not, compares
        # nothing; but what fails under KVM fails.
        if sides[role].status == Status.SKIP and other.record.own and other.status in _NO_PASS[role]:
            return Attribution(
                verdict=Verdict.SKIPPED, reason=f"{targets[role]}: {sides[role].reason or IMAGE_SKIPPED}"
            )
    if subject.status == Status.NOT_REPORTED:
        return _inconclusive(targets[Role.SUBJECT], subject)
    if subject.bad:
        return _subject_fails(sides, targets, hardware)
    if reference.status == Status.NOT_REPORTED:
        return _inconclusive(targets[Role.REFERENCE], reference)
    if reference.bad:
        return Attribution(verdict=Verdict.REFERENCE_WRONG, reason=against_sdm(reference))
    if dead := [side for side in (reference, subject) if side.status == Status.DIED]:
        if len(dead) > 1:
            return Attribution(verdict=Verdict.INCONCLUSIVE, reason=f"both sides died: {dead[0].reason}")
        return Attribution(verdict=Verdict.DIFFER, reason=dead[0].reason, hints=_host_beside(sides, hardware))
    for role, side in ((Role.REFERENCE, reference), (Role.SUBJECT, subject)):
        if side.status == Status.SKIP:
            reason = f"{targets[role]}: {side.reason or IMAGE_SKIPPED}"
            return Attribution(verdict=Verdict.SKIPPED, reason=reason)
    differing = [field.name for field in fields if field.differs]
    if differing or reference.status != subject.status:
        names = ", ".join(differing) or "the image's own judgement"
        reason = f"the sides differ in {names}, and nothing says which is right"
        return Attribution(verdict=Verdict.DIFFER, reason=reason, hints=_host_beside(sides, hardware))
    required = reference.status == Status.PASS and not reference.record.own
    return Attribution(verdict=Verdict.AGREE, reason=f"same on both sides{', as the SDM requires' if required else ''}")


def _subject_fails(sides: Mapping[Role, Evidence], targets: Mapping[Role, str], hardware: str) -> Attribution:
    """The subject breaks the SDM. What the reference gave does not change what is said of the subject where the CPU
    under it was observed.
    """
    reference, subject, host = sides[Role.REFERENCE], sides[Role.SUBJECT], sides.get(Role.HOST_CPU)
    why = against_sdm(subject)
    both = Verdict.BOTH_WRONG if reference.bad else Verdict.SUBJECT_WRONG
    if host is None:
        if reference.status == Status.NOT_REPORTED:
            return _inconclusive(targets[Role.REFERENCE], reference)
        if subject.status == reference.status == Status.DIED:
            return Attribution(verdict=Verdict.INCONCLUSIVE, reason=f"both sides died: {reference.reason}")
        return Attribution(verdict=both, reason=_both(reference, subject), hints=_suspicion([reference, subject]))
    if host.status in GOOD:
        return Attribution(verdict=both, reason=_both(reference, subject))
    if host.status == Status.SKIP:
        hint = f"{hardware} skips the check ({host.reason}): what the subject shows there is its own doing"
        return Attribution(verdict=both, reason=_both(reference, subject), hints=[hint])
    if host.status == Status.NOT_REPORTED:
        reason = f"{why}; whether the CPU under it does the same was not observed: {host.reason}"
        return Attribution(verdict=Verdict.INCONCLUSIVE, reason=reason)
    distinct = {targets[role]: sides[role] for role in (Role.REFERENCE, Role.HOST_CPU, Role.SUBJECT)}
    how = "in the same way" if alike(subject, host) else f"in another way ({against_sdm(host)})"
    return Attribution(
        verdict=Verdict.SHARED,
        reason=f"{why}; {hardware}, the CPU under it, {'fails it' if host.record.own else 'breaks the SDM'} {how}",
        hints=[
            f"to be decided by: {BY_EXITS}real VMX hardware, or a Bochs in which this is fixed",
            *_suspicion(list(distinct.values())),
        ],
    )


def alike(one: Evidence, other: Evidence) -> bool:
    """Whether two sides that break the SDM break the same requirements with the same values."""
    if one.status != other.status:
        return False
    if one.status == Status.DIED:
        return one.record.fields.get("ending") == other.record.fields.get("ending")
    return _broken(one) == _broken(other)


def against_sdm(side: Evidence) -> str:
    """What a failing side did against what is required, in one line."""
    if side.status == Status.DIED:
        return side.reason
    record = side.record
    parts = [
        f"{name} is {record.fields.get(name, 'absent')}, the SDM requires {record.required.get(name)}"
        for name in record.broken()
    ]
    return (
        "; ".join(parts[:MOST_FIELDS]) or side.reason or ("it says FAIL" if record.own else "the image judged it wrong")
    )


def _both(reference: Evidence, subject: Evidence) -> str:
    """Why the subject is wrong, and where the reference is wrong otherwise, why it is, too."""
    why = against_sdm(subject)
    if not reference.bad or alike(reference, subject):
        return why
    return f"{why}; the reference otherwise: {against_sdm(reference)}"


def _broken(side: Evidence) -> dict[str, str | None]:
    return {name: side.record.fields.get(name) for name in side.record.broken()}


def _suspicion(sides: Sequence[Evidence]) -> list[str]:
    """Where all sides do as the subject, which fails, the check itself is to be doubted."""
    first, *others = sides
    if all(alike(first, other) for other in others):
        return [f"or the check is wrong: all {len(sides)} sides say the same"]
    return []


def _host_beside(sides: Mapping[Role, Evidence], hardware: str) -> list[str]:
    """What the CPU under the subject says about a difference that the SDM does not decide."""
    host = sides.get(Role.HOST_CPU)
    if host is None or host.status not in (*GOOD, Status.DIED):
        return []
    if host.record.fields == sides[Role.SUBJECT].record.fields:
        return [f"the subject does as the CPU under it, {hardware}"]
    if host.record.fields == sides[Role.REFERENCE].record.fields:
        return [f"the subject differs from the reference and from the CPU under it, {hardware}"]
    return []


def _inconclusive(target: str, side: Evidence) -> Attribution:
    return Attribution(verdict=Verdict.INCONCLUSIVE, reason=f"{target}: {side.reason}")
