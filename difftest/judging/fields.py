"""The records of all sides field by field, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping

from difftest.judging.evidence import (
    Evidence,
)
from difftest.judging.pairing import Pairing
from difftest.judging.result import Field, Role
from difftest.reading.record import Record


def fields_of(pairing: Pairing, evidence: Mapping[Role, Evidence]) -> list[Field]:
    """All records side by side, in the order in which the images printed them."""
    records: dict[str, Record] = {}
    for role in (role for role in Role if role in evidence):
        records.setdefault(pairing.targets[role], evidence[role].record)  # of a reference that is also the CPU, once
    left, right = (evidence[role].record for role in (Role.REFERENCE, Role.SUBJECT))
    names = dict.fromkeys(name for one in records.values() for name in one.fields)
    names |= dict.fromkeys(name for one in records.values() for name in one.required)
    free = dict.fromkeys(name for one in records.values() for name in one.free)
    return [
        *(
            Field(
                name=name,
                values={target: one.fields[name] for target, one in records.items() if name in one.fields},
                required={target: one.required[name] for target, one in records.items() if name in one.required},
                differs=_differs(left, right, name),
            )
            for name in names
        ),
        *(
            Field(
                name=name,
                values={target: one.free[name] for target, one in records.items() if name in one.free},
                compared=False,
            )
            for name in free
        ),
    ]


def _differs(left: Record, right: Record, name: str) -> bool:
    """Whether two sides differ in a field. Where each gives what the SDM requires of it, they do not: what is required
    may depend on the CPU.
    """
    if left.fields.get(name) == right.fields.get(name):
        return False
    met = [name in one.required and one.fields.get(name) == one.required[name] for one in (left, right)]
    return not all(met)
