"""Family L2 of the catalogue, MOV to CR in L2 with nested EPT and PAE: what Bochs says, and that each check can
fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.bochs.target import Bochs

from .families import Edit, assert_no_check_depends_on_another, built, case_called, known_on_bochs, records, statuses

CASE = case_called("nested-pdpte")
MODEL = CASE.manifest.cpu_models["bochs"]  # has all that the checks need
LOGS = {"write", "write-full", "each-index", "mov-cr3", "mov-cr0", "fetch-full", "mov-cr0-full", "violation-after-full"}
LOGGING = {f"L2-12/{name}" for name in LOGS}
FLAGS = {"L2-10/write", "L2-10/mov-cr0", "L2-10/mov-cr3", "L2-10/mov-cr4", "L2-11/mov-cr0", "L2-11/mov-cr3"}
SMEP = {"L2-14/mapped", "L2-14/smep"}

pytestmark = pytest.mark.boots


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = [about.check for about in built(CASE, tmp_path).checks]
    assert {check.partition("/")[0] for check in ids} == {f"L2-{row:02}" for row in range(1, 25)}
    assert {check for known in CASE.manifest.known for check in known.checks} - {"host-kernel"} <= set(ids)


@pytest.mark.parametrize(
    ("model", "skipped"),
    [
        (MODEL, set()),
        ("corei7_haswell_4770", LOGGING),
        ("corei7_sandy_bridge_2600k", LOGGING | FLAGS | SMEP | {"L2-24/accessed-dirty"}),
    ],
)
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, model: str, skipped: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path), Bochs(cpu_model=model)))
    assert {check for check, status in told.items() if status == "SKIP"} == skipped
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE) - skipped


async def test_no_check_depends_on_another(tmp_path: Path) -> None:
    await assert_no_check_depends_on_another(CASE, built(CASE, tmp_path), Bochs(cpu_model=MODEL))


def _ids(row: int, *names: str) -> set[str]:
    return {f"L2-{row:02}/{name}" for name in names}


# What is done to the stage, or to the expectation, of these checks makes them fail. Stages that have nothing to do with
# each other are broken in one boot.
VIOLATIONS = (
    _ids(1, "not-present") | _ids(3, "mov-cr0", "mov-cr3") | _ids(7, "offset-fe0", "offset-fe0-mov-cr3", "low-bits")
    | _ids(6, "pml4e") | _ids(8, "execute-above-all") | _ids(13, "pse") | _ids(14, "smep")
    | _ids(16, "pge", "beside-mce") | _ids(8, "mov-cr3-execute-above-all")
    | _ids(17, "mov-cr3", "same-value") | _ids(18, "cd", "nw") | _ids(20, "gp-intercepted")
)  # fmt: skip
MISCONFIGURATIONS = (
    _ids(4, "write", "write-execute", "mov-cr3") | _ids(5, "memory-type-2", "memory-type-3", "memory-type-7",
    "address-bits")
    | _ids(5, "mov-cr3-memory-type-2", "mov-cr3-memory-type-3", "mov-cr3-memory-type-7", "mov-cr3-address-bit")
)  # fmt: skip
LOADS = (
    _ids(1, "mapped") | _ids(2, "read", "read-execute", "read-above-all", "mov-cr3") | _ids(5, "memory-type-0",
    "ignored-bits")
    | _ids(6, "mapped", "pml4e-mapped") | _ids(7, "mapped") | _ids(8, "mapped") | _ids(9, "mov-cr0", "mov-cr3",
    "mov-cr4")
    | _ids(10, "off", "mov-cr0", "mov-cr3", "mov-cr4") | _ids(11, "mov-cr0", "mov-cr3") | _ids(12, "mov-cr0", "mov-cr3")
    | _ids(13, "mapped") | _ids(14, "mapped") | _ids(16, "mapped", "beside-mce-mapped")
    | _ids(2, "mov-cr3-above-all") | _ids(6, "mov-cr3-mapped") | _ids(17, "mapped") | _ids(18, "cd-mapped",
    "nw-mapped")
    | _ids(20, "mapped") | _ids(21, "ignored-bits") | _ids(22, "mov-cr0", "mov-cr3", "mov-cr4")
)  # fmt: skip
RUN = "    struct vm_exit exit = l2_run();\n"
BROKEN: dict[str, tuple[list[Edit], set[str]]] = {
    "EPT is as it should be": (
        [("stage.c", f"{RUN}    must_violate_at", f"    ept_identity();\n    ept_flush();\n{RUN}    must_violate_at"),
         ("stage.c", f"{RUN}    must_misconf", f"    ept_identity();\n    ept_flush();\n{RUN}    must_misconf"),
         ("rights.c", f"    ept_protect(pdpt, EPT_WRITE);\n{RUN}", RUN),
         ("moves.c", "ept_protect(&both_tables, EPT_NOTHING)", "ept_protect(&both_tables, EPT_ALL)"),
         ("other-modes.c", "ept_protect(l2_tables.pml4, EPT_NOTHING)", "ept_protect(l2_tables.pml4, EPT_ALL)"),
         ("other-modes.c", f"ept_protect(other_root, EPT_NOTHING);\n{RUN}    must_violate", f"ept_flush();\n{RUN}    "
                                                                                  f"must_violate"),
         ("other-modes.c", f"ept_protect(other_root, EPT_NOTHING);\n{RUN}    must_walk",
          f"ept_flush();\n{RUN}    must_walk"),
         ("other-modes.c", f"    ept_protect(l2_tables.directory, EPT_NOTHING);\n{RUN}    must_walk_to_hole(&exit, "
                           f"l2_tables.directory, "
          "l2_mov_cr0_then, VIOLATION_READ);", f"{RUN}    must_walk_to_hole(&exit, l2_tables.directory, "
                                               f"l2_mov_cr0_then, 1);")],
        VIOLATIONS | MISCONFIGURATIONS | _ids(4, "data-access")
        | _ids(15, "pae") | _ids(23, "mov-cr0", "mov-cr3") | _ids(24, "mov-cr0", "mov-cr3"),
    ),
    "a PDPTE has a reserved bit, or none, or EPT has no hole": (
        [("stage.c", "    struct vm_exit exit = must_complete();\n    if", "    ((u64 *)(u32)pdptes)[3] |= 2;\n"
          "    struct vm_exit exit = must_complete();\n    if"),
         ("stage.c", "    struct vm_exit exit = must_complete();\n    must_keep", "    registers_before[2] ^= "
                                                                                  "PDPTE_PWT;\n"
          "    struct vm_exit exit = must_complete();\n    must_keep"),
         ("moves.c", "pdptes_in_both[index] = pdpt[index];", "pdptes_in_both[index] = pdpt[index] | 2;"),
         ("entries.c", "rights_by_level(EPT_EXECUTE, EPT_READ | EPT_WRITE)", "rights_by_level(EPT_EXECUTE, EPT_ALL)"),
         ("entries.c", "*ept_entry(WINDOW, level) = 0;", "*ept_entry(WINDOW, level) |= 0;"),
         ("by-mov-cr3.c", "edit(level, ~(u64)0, 0);", "edit(level, 0, 0);"),
         ("values.c", "pdpt[index] = sound | (u64)1 << bit;", "pdpt[index] = sound;")],
        LOADS | _ids(6, "pte", "pde", "pdpte", "mov-cr3-pte", "mov-cr3-pde", "mov-cr3-pdpte")
        | _ids(8, "execute-above-read-write") | _ids(15, "mapped")
        | _ids(19, "mapped", "clts") | _ids(21, "pdpte0", "pdpte1", "pdpte2", "pdpte3"),
    ),
    "flags are set beforehand, or by the walk": (
        [("accessed-dirty.c", "*ept_entry(WINDOW, EPT_PTE) & EPT_DIRTY, dirty)",
          "*ept_entry(WINDOW, EPT_PTE) & EPT_DIRTY, dirty ^ EPT_DIRTY)"),
         ("accessed-dirty.c", "    put_table_in_window();\n    run_must_load(pdpt);\n    must_flag(0, 0);",
          "    put_table_in_window();\n    ept_track();\n    run_must_load(pdpt);\n    must_flag(0, 0);"),
         ("accessed-dirty.c", "    ept_mark_used(l2_tables.pae.directories[0]);\n", ""),
         ("accessed-dirty.c", "other_pdpt, EPT_READ);\n    struct", "other_pdpt, EPT_ALL);\n    struct"),
         ("other-modes.c", "IN_WORDS(SELECTOR_CODE_64)", "IN_WORDS(SELECTOR_CODE)"),
         ("other-modes.c", f"about_to_use_32_bit(l2_mov_cr0, L2_CR0 | CR0_PG);\n{RUN}    must(",
          f"about_to_use_32_bit(l2_mov_cr0, L2_CR0);\n{RUN}    must(")],
        _ids(10, "write", "off", "mov-cr0", "mov-cr3", "mov-cr4") | _ids(11, "mov-cr0", "mov-cr3") | _ids(23, "mapped",
        "mov-cr0")
        | _ids(12, "mov-cr0", "mov-cr3", "violation-after-full") | _ids(24, "mapped"),
    ),
    "L2 reads where it should write": (
        [("accessed-dirty.c", "l2_writes: movl %eax, (%ebx)", "l2_writes: movl (%ebx), %eax")],
        _ids(10, "write") | _ids(12, "each-index", "violation-after-full"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("stage", BROKEN)
async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path, stage: str) -> None:
    edits, failing = BROKEN[stage]
    told = statuses(await records(CASE, built(CASE, tmp_path, edits), Bochs(cpu_model=MODEL)))
    assert {check for check, status in told.items() if status == "FAIL"} - known_on_bochs(CASE) == failing


def test_each_check_is_among_those_that_were_seen_to_fail(tmp_path: Path) -> None:
    seen = set().union(*(failing for _, failing in BROKEN.values())) | known_on_bochs(CASE)
    assert {about.check for about in built(CASE, tmp_path).checks} == seen
