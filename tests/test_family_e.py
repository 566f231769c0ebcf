"""Family E of the catalogue, VM entry and exit: what Bochs says, and that each check can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.case.case import Case
from difftest.image.build import BuiltImage
from emulators.bochs.target import Bochs

from .families import Edit, assert_no_check_depends_on_another, built, case_called, known_on_bochs, records, statuses

ENTRY, EXIT = case_called("vm-entry"), case_called("vm-exit")
CASES = [ENTRY, EXIT]
# Their right outcome is the end of the machine.
ABORTS = {"E-18/abort", "E-37/abort-store", "E-37/abort-load"}
# A row that is only a mask, and one that needs 57-bit linear addresses.
ABSENT = {"E-05", "E-20"}
ROWS = {f"E-{row:02}" for row in range(1, 43)}

pytestmark = pytest.mark.boots


def ids_of(image: BuiltImage) -> list[str]:
    return [about.check for about in image.checks]


async def told(case: Case, image: BuiltImage) -> dict[str, str]:
    """How the checks end on Bochs, but those that end the machine."""
    target = Bochs(cpu_model=case.manifest.cpu_models.get("bochs"))
    only = [check for check in ids_of(image) if check not in ABORTS]
    return statuses(await records(case, image, target, only=only))


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = {check for case in CASES for check in ids_of(built(case, tmp_path))}
    assert {check.partition("/")[0] for check in ids} | ABSENT == ROWS
    assert {row.id for case in CASES for row in case.manifest.absent} == ABSENT
    for case in CASES:
        assert {check for known in case.manifest.known for check in known.checks} <= set(ids_of(built(case, tmp_path)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, case: Case) -> None:
    status = await told(case, built(case, tmp_path))
    assert {check for check, one in status.items() if one == "FAIL"} == known_on_bochs(case)


async def test_no_check_depends_on_another(tmp_path: Path) -> None:
    await assert_no_check_depends_on_another(ENTRY, built(ENTRY, tmp_path))


# Sweeps that change nothing, so that no entry fails; and each requirement turned into another.
NOTHING_CHANGES: list[Edit] = [
    ("stage.c", "        if (bits & bit) {\n            vmcs_write64(field, base ^ bit);",
     "        if (bits & bit) {\n            vmcs_write64(field, base);"),
    ("stage.c", "vmcs_write64(field, values[index]);", "vmcs_write64(field, base);"),
]  # fmt: skip
OTHER_REQUIREMENTS = """
#define must(name, value, required) must(name, value, (u64)(required) ^ 1)
#define tally_turn(tally, turn, value, required) tally_turn(tally, turn, value, (u64)(required) ^ 1)
#define must_vmfail(outcome, error) must_vmfail(outcome, (error) ^ 1)
#define must_fault(trap, vector, error_code, instruction) must_fault(trap, (vector) ^ 1, error_code, instruction)
#define must_hold_pdptes(exit, pdptes) must_hold_pdptes(exit, (const u64[4]){ 1, 1, 1, 1 })
"""
OTHER_OUTCOMES = """
#define must_fail_entry(reason, qualification) must_enter()
#define must_refuse_entry(error) must_enter()
"""
NO_ENTRY = """
#define must_enter() must_refuse_entry(ENTRY_CONTROLS_INVALID)
"""


def _with(header: str, first: str, words: str) -> list[Edit]:
    """The header with these lines after the line that it includes last."""
    return [(header, first, f"{first}{words}")]


async def _failing(case: Case, folder: Path, edits: list[Edit]) -> set[str]:
    folder.mkdir()
    status = await told(case, built(case, folder, edits))
    return {check for check, one in status.items() if one != "PASS"}


async def test_each_check_of_vm_entry_can_fail(tmp_path: Path) -> None:
    last = '#include "vmx.h"\n'
    status = await told(ENTRY, built(ENTRY, tmp_path))
    assert sum(one == "SKIP" for one in status.values()) < 12
    unchanged = await _failing(ENTRY, tmp_path / "a", NOTHING_CHANGES)
    assert len(unchanged) > 60
    failing = unchanged | await _failing(ENTRY, tmp_path / "b", _with("stage.h", last, OTHER_REQUIREMENTS))
    failing |= await _failing(ENTRY, tmp_path / "c", _with("stage.h", last, OTHER_OUTCOMES))
    failing |= await _failing(ENTRY, tmp_path / "d", _with("stage.h", last, NO_ENTRY))
    assert set(status) - failing == set()


async def test_each_check_of_vm_exit_can_fail(tmp_path: Path) -> None:
    status = await told(EXIT, built(EXIT, tmp_path))
    last = '#include "vmx.h"\n'
    assert set(status) - await _failing(EXIT, tmp_path / "a", _with("state.h", last, OTHER_REQUIREMENTS)) == set()
