"""Family M of the catalogue, masks, shadows and fixed bits of CR0 and CR4: what Bochs says, and that each check can
fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.bochs.target import Bochs

from .families import (
    Edit,
    assert_no_check_depends_on_another,
    built,
    case_called,
    known_on_bochs,
    matching,
    records,
    statuses,
)

CASE = case_called("cr-masks")

pytestmark = pytest.mark.boots


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = [about.check for about in built(CASE, tmp_path).checks]
    assert {check.partition("/")[0] for check in ids} == {f"M-{row:02}" for row in range(1, 18)}
    assert {check for known in CASE.manifest.known for check in known.checks} <= set(ids)
    assert {note.id for note in CASE.manifest.note} <= {check.partition("/")[0] for check in ids}


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("corei5_arrandale_m520", {"M-02/osxsave", "M-02/smep"}),
        ("corei7_haswell_4770", set()),
        ("tigerlake", set()),
    ],
)
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, model: str, missing: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path), Bochs(cpu_model=model)))
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE)
    assert {check for check, status in told.items() if status not in ("PASS", "FAIL")} == missing


async def test_no_check_depends_on_another(tmp_path: Path) -> None:
    await assert_no_check_depends_on_another(CASE, built(CASE, tmp_path))


# One boot with the masks left out, one with every bit masked, and one in which each instruction or expectation is
# another: what fails then, as patterns. `!` takes away.
CR3_LOAD = "vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_LOAD_EXITING,"
CR3_STORE = "vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_STORE_EXITING,"
NO_CONTROL = "vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, 0,"
BROKEN: list[tuple[list[Edit], list[str]]] = [
    ([
        ("stage.h", "vmcs_write(cr->mask, mask);", "vmcs_write(cr->mask, mask & 0);"),
        ("cr3-targets.c", "FIELD_STEP, values[target]);", "FIELD_STEP, value);"),
        ("cr3-targets.c", "vmcs_write(CR3_TARGET_COUNT, count);", "vmcs_write(CR3_TARGET_COUNT, count ? "
                                                                  "MOST_TARGETS : 1);"),
        ("cache-bits.c", "| l1_bits);\n    l2_prepare(mov_from_cr0", "| (l1_bits ^ CR0_CD));\n    "
                                                                     "l2_prepare(mov_from_cr0"),
    ], [
        "M-01/*", "!M-01/control", "!M-01/cr3-*", "M-02/*", "M-03/*", "!M-03/control", "M-04/control", "M-05/masked*",
        "M-12/lmsw-*", "M-12/source-*", "M-12/mp", "M-12/em", "M-12/ts", "M-12/pe", "M-13/*",
        "M-14/mask-1-*", "M-14/ts-clear", "M-15/*",
        "M-16/*", "!M-16/target-*", "M-17/control", "M-17/entry-*",
    ]),
    ([
        ("stage.h", "vmcs_write(cr->mask, mask);", "vmcs_write(cr->mask, mask | ~0u);"),
    ], [
        "M-01/control", "M-02/*", "M-05/masked*", "M-12/control", "M-12/mp", "M-12/em", "M-12/ts", "M-12/pe",
        "M-12/other-bits", "M-13/*",
        "M-14/mask-0-*", "M-14/other-bits", "M-15/*",
    ]),
    ([
        ("mov-cr.c", CR3_LOAD, NO_CONTROL),
        ("mov-cr.c", CR3_STORE, NO_CONTROL),
        ("priorities.c", "l2_try_with(code, refused[turn].value)", "l2_try_with(code, refused[turn].cr->initial)"),
        ("priorities.c", "    l2_user_mode();\n", ""),
        ("fixed-bits.c", "l2_try_with(cr->mov_to, value);\n    must_take",
         "l2_try_with(cr->mov_to, before | value * 0);\n    must_take"),
        ("fixed-bits.c", "exit.cr4 : exit.cr0, value);", "exit.cr4 : exit.cr0, value ^ CR0_TS);"),
        ("fixed-bits.c", 'must("value_read", value_read, value);', 'must("value_read", value_read, value ^ CR0_TS);'),
        ("fixed-bits.c", "mov_to_cr0_and_back, value), VECTOR", "mov_to_cr0_and_back, value | read_cr0()), VECTOR"),
        ("fixed-bits.c", "read_cr4() & ~CR4_VMXE), VECTOR", "read_cr4()), VECTOR"),
        ("vmxon.c", "write_cr4(new_cr4);", "write_cr4(new_cr4 | CR4_VMXE);"),
        ("vmxon.c", "write_cr0(new_cr0);", "write_cr0(new_cr0 | CR0_NE);"),
        ("vmxon.c", 'must("vmx_operation", entered, true);', 'must("vmx_operation", entered, false);'),
        ("vmxon.c", "clts_in_real_mode:  clts", "clts_in_real_mode:  nop"),
        ("vmxon.c", "vmxon_in_real_mode: vmxon 0x500", "vmxon_in_real_mode: nop"),
        ("machine-status-word.c", "lmsw(IN_REGISTER, 0);", "lmsw(IN_REGISTER, CR0_MP);"),
        ("machine-status-word.c", "exit.cr0, L2_CR0 | CR0_MP);\n}\n\nCHECK(lmsw_sets_pe",
         "exit.cr0, L2_CR0);\n}\n\nCHECK(lmsw_sets_pe"),
        ("machine-status-word.c", "l2_real_mode();\n    struct vm_exit exit = lmsw(IN_REGISTER, CR0_PE);",
         "l2_real_mode();\n    struct vm_exit exit = lmsw(IN_REGISTER, 0);"),
        ("machine-status-word.c", "vmcs_write(GUEST_DS_LIMIT, OPERAND_FAULT_LIMIT);", "vmcs_write(GUEST_DS_LIMIT, "
                                                                                      "~0u);"),
        ("machine-status-word.c", "vmcs_write(GUEST_DS_ACCESS_RIGHTS, 0x4093);", "(void)OPERAND_FAULT_LIMIT;"),
        ("machine-status-word.c", "ept_protect(operand, EPT_NOTHING);", "ept_protect(operand, EPT_ALL);"),
        ("cr3-targets.c", "vmcs_write(CR3_TARGET_COUNT, count);", "vmcs_write(CR3_TARGET_COUNT, count * 0);"),
        ("cache-bits.c", "exit.registers.eax, L2_CR0 | l1_bits);", "exit.registers.eax, L2_CR0 | field);"),
        ("cache-bits.c", "l1_cr0_then & CACHE_BITS, l2_bits);", "l1_cr0_then & CACHE_BITS, l1_bits);"),
        ("cache-bits.c", "exit.registers.eax, L2_CR0);", "exit.registers.eax, L2_CR0 | CR0_RESERVED);"),
        ("cache-bits.c", "l1_cr0_then, l1_cr0);", "l1_cr0_then, l1_cr0 | CR0_RESERVED);"),
    ], [
        "M-01/cr3-*", "M-03/control", "M-04/*", "!M-04/control", "M-05/control", "M-06/*", "M-07/*", "M-08/*", "M-09/*",
        "M-10/*", "M-11/*", "M-12/operand-*", "M-12/pe-*", "M-16/target-*", "M-16/count-too-large",
        "M-17/entry-*", "M-17/exit-*", "M-17/reserved",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "failing"), BROKEN, ids=["nothing masked", "everything masked", "another stage"])
async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path, edits: list[Edit], failing: list[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path, edits)))
    known = known_on_bochs(CASE)
    assert {check for check, status in told.items() if status == "FAIL"} - known == matching(failing, set(told)) - known


def test_each_check_is_among_those_that_were_seen_to_fail(tmp_path: Path) -> None:
    ids = {about.check for about in built(CASE, tmp_path).checks}
    assert set().union(*(matching(failing, ids) for _, failing in BROKEN)) | known_on_bochs(CASE) == ids
