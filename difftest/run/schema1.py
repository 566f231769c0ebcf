"""Stored runs of schema 1, as difftest 0.1.0 wrote them, in today's terms.

There each result had two sides with fields of their own, the CPU under KVM was known by its implementation's name alone
("inherits"), and an observation said which of the run's boots it was.
"""

from __future__ import annotations

import msgspec

from difftest.case.manifest import KnownDivergence
from difftest.judging.result import Field, Result, Role, Side
from difftest.reading.boot_reading import BootRecord
from difftest.verdict import Status, Verdict
from emulators.observation import KernelFault, Observation

SCHEMA = 1


class FormerField(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    reference: str | None
    subject: str | None
    required: str | None = None
    compared: bool = True


class FormerResult(msgspec.Struct, frozen=True, kw_only=True):
    case: str
    check: str
    sdm: str = ""
    summary: str = ""
    reference: str
    subject: str
    reference_name: str
    subject_name: str
    verdict: Verdict
    reason: str
    reference_status: str
    subject_status: str
    fields: list[FormerField] = []
    boots: str = ""
    known: KnownDivergence | None = None
    expected: bool = True


class FormerObservation(Observation, frozen=True, kw_only=True):
    repeat: int = 0
    variant: str = ""
    part: int = 0
    kernel_faults: list[str] = []  # type: ignore[assignment]  # noqa: RUF012


def result(former: FormerResult) -> Result:
    """A result of schema 1."""
    sides = [
        Side(role=role, target=target, implementation=name, status=_status(status))
        for role, target, name, status in (
            (Role.REFERENCE, former.reference, former.reference_name, former.reference_status),
            (Role.SUBJECT, former.subject, former.subject_name, former.subject_status),
        )
    ]
    return Result(
        case=former.case,
        check=former.check,
        sdm=former.sdm,
        summary=former.summary,
        sides=sides,
        verdict=former.verdict,
        reason=former.reason,
        fields=[_field(one, former.reference, former.subject) for one in former.fields],
        boots=former.boots,
        known=former.known,
        expected=former.expected,
    )


def observation(former: FormerObservation, number: int) -> tuple[Observation, BootRecord]:
    """An observation of schema 1, without its blobs, and which boot it is of."""
    known = {name: getattr(former, name) for name in Observation.__struct_fields__}
    # Every line counted as KVM's own: that KVM was on the call stack was not looked at.
    faults = [KernelFault(line=line, in_kvm=True) for line in former.kernel_faults]
    boot = BootRecord(number=number, repeat=former.repeat, part=former.part, variant=former.variant)
    return Observation(**(known | {"kernel_faults": faults})), boot


def _status(word: str) -> Status:
    return Status(word) if word in set(Status) else Status.NOT_REPORTED


def _field(former: FormerField, reference: str, subject: str) -> Field:
    values = {reference: former.reference, subject: former.subject}
    return Field(
        name=former.name,
        values={target: value for target, value in values.items() if value is not None},
        required=dict.fromkeys(values, former.required) if former.required is not None else {},
        compared=former.compared,
        differs=former.compared and former.reference != former.subject,
    )
