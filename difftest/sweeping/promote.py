"""Findings as a case of the kit: a check for each, with its control, that any machine can run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from difftest.authoring.scaffold import new_case_folder
from difftest.case.case import MANIFEST
from difftest.sweeping.edits import Edits
from difftest.sweeping.findings import SweepFinding
from difftest.sweeping.model import RULES, expect
from difftest.sweeping.outcomes import class_of
from difftest.sweeping.vectors import VectorFacts

TEMPLATES = Path(__file__).with_name("templates")
SOURCE = "findings.c"
DEFAULT_SDM = {
    "transitions": "Control Registers (Vol. 3, 2.5)",
    "pdpte-loads": "PDPTE Registers (Vol. 3, 4.4.1)",
}


class WrittenCheck(msgspec.Struct, frozen=True):
    """A check to be written: a vector and what the SDM requires of it, as words of C."""

    id: str
    sdm: str
    summary: str
    family: str
    base: int
    op: int
    words: list[str]
    required: list[str]
    open_: list[str]


def write_case(folder: Path, findings: Sequence[SweepFinding], facts: VectorFacts) -> Path:
    """A case folder with these findings. Raises CaseError where it cannot be."""
    checks = [check for finding in findings for check in checks_of(finding, facts)]
    words = {"name": folder.name, "checks": checks, "findings": findings, "source": SOURCE}
    with new_case_folder(folder) as filled:
        (filled / MANIFEST).write_text(_rendered("case.toml.jinja", **words))
        (filled / SOURCE).write_text(_rendered("findings.c.jinja", **words))
    return folder


def checks_of(finding: SweepFinding, facts: VectorFacts) -> list[WrittenCheck]:
    """The control, which is the same state with an instruction that changes nothing, and the finding itself."""
    name = finding.signature.name
    plain = finding.edits
    for word in ("operand", *(f"pdpte{entry}" for entry in range(4))):
        if word in plain.changes:
            plain = plain.without(word, plain.changes[word])
    found = [_check(f"{name}/finding", "", finding, finding.edits, facts)]
    control = _check(f"{name}/control", "Control: ", finding, plain, facts)
    return [control, *found] if plain != finding.edits else found


def _check(name: str, prefix: str, finding: SweepFinding, edits: Edits, facts: VectorFacts) -> WrittenCheck:
    vector = edits.vector()
    expected = expect(edits.family, vector, facts)
    broken = [rule for rule in RULES if rule.id in expected.names(0)]
    ending = class_of(expected.rows[0])
    comes = "executes" if ending == "executed" else f"causes {ending}"
    state, _, instruction = edits.sentence().partition(": ")
    family = finding.signature.family
    return WrittenCheck(
        id=name,
        sdm=broken[0].sdm if broken else DEFAULT_SDM[family],
        summary=f"{prefix}{instruction} in {state} {comes}"[:400],
        family=f"FAMILY_{family.replace('-', '_').upper()}",
        base=edits.base,
        op=edits.op,
        words=_numbers(vector.words[:, 0]),
        required=_numbers(expected.rows[0]),
        open_=_numbers(expected.open_[0]),
    )


def _numbers(words: Any) -> list[str]:
    return [f"{int(word):#x}ull" for word in words]


def _rendered(template: str, **words: object) -> str:
    import jinja2

    text = (TEMPLATES / template).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    return environment.from_string(text).render(words)
