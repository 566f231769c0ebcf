"""Family W of the catalogue, walks of EPT: what Bochs says, and that each check can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.image.build import BuiltImage

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

CASE = case_called("ept-walk")
ROWS = {f"W-{row:02}" for row in range(1, 34)} - {"W-25", "W-27", "W-28"}
OPEN = {"W-21/without-invept", "W-22/reserved"}
LATER_BOCHS = {"W-18/rights", "W-19/pae"}  # 2.7 has neither feature
NEVER_HERE = {"W-10/absent", "W-12/absent"}  # of the CPUs that do not have what Bochs always has

pytestmark = pytest.mark.boots


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The case as it is."""
    return built(CASE, tmp_path_factory.mktemp("ept-walk"))


def test_every_row_of_the_catalogue_has_a_check(image: BuiltImage) -> None:
    ids = {about.check for about in image.checks}
    assert {check.partition("/")[0] for check in ids} == ROWS
    assert {check for known in CASE.manifest.known for check in known.checks} <= ids


async def test_bochs_fails_what_is_known_and_nothing_else(image: BuiltImage) -> None:
    told = statuses(await records(CASE, image))
    assert {check for check, status in told.items() if status == "SKIP"} == LATER_BOCHS | NEVER_HERE
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE) - LATER_BOCHS
    assert {check for check, status in told.items() if status == "OPEN"} == OPEN


async def test_no_check_depends_on_another(image: BuiltImage) -> None:
    await assert_no_check_depends_on_another(CASE, image)


# What is done to the stage, or to the expectation, of these checks makes them fail. Stages that have nothing to do with
# each other are broken in one boot.
TURN = "    struct vm_exit exit = l2_window_turn(access);\n"
ACCESS = "    struct vm_exit exit = l2_window_access(access);\n    switch"
IDENTITY = "    ept_identity();\n    ept_flush();\n"
NO_PTE = "    *ept_leaf(l2_window_table(LEVEL_PTE)) = 0;\n    ept_flush();\n"
EPT_CHECKS = [
    "W-01/pae", "W-02/*", "W-06/*", "W-07/*", "W-08/*", "W-09/*", "W-10/code", "W-11/*", "W-12/*", "W-13/*", "W-14/*",
    "W-15/*", "W-16/*", "W-17/*", "W-20/*", "W-21/single-context", "W-21/all-contexts",
]  # fmt: skip
INVEPT = "vmx_invept(type, &(struct invept_descriptor){ ept_pointer(), 0 });\n        tally_turn("
BROKEN: dict[str, tuple[list[Edit], list[str]]] = {
    "EPT is an identity map": (
        [("stage.c", TURN, IDENTITY + TURN), ("stage.c", ACCESS, IDENTITY + ACCESS)],
        [*EPT_CHECKS, "!W-02/page-directory", "!W-02/pml4-table", "!W-09/not-present", "!W-17/tables"],
    ),
    "the window's page table is absent": (
        [("stage.c", TURN, NO_PTE + TURN), ("stage.c", ACCESS, NO_PTE + ACCESS)],
        [*EPT_CHECKS, "W-01/pdpt", "W-03/writable", "W-04/*", "W-21/other-*", "!W-01/pae", "!W-02/each-ept-level"],
    ),
    "another stage": (
        [
            ("invalidation.c", "other[word] = 0x600D", "other[word] = 0xBAD"),
            ("invalidation.c", "target[word] = 0x600D", "target[word] = 0xBAD"),
            ("invalidation.c", "bool canonical = bit < 47;", "bool canonical = bit < 46;"),
            ("invalidation.c", INVEPT, INVEPT.replace("type", "ALL_CONTEXTS")),
            ("invalidation.c", "{ plain | low, 0 }", "{ ept_pointer() | plain * 0, 0 }"),
            ("invalidation.c", "invept (%ebx), %eax", "vmcall"),
            ("invalidation.c", "invvpid (%ebx), %eax", "vmcall"),
            ("invalidation.c", "trap_in(invept_all, 0)", "trap_in(invept_all, 0);\n    trap = (struct trap){ 0 }"),
            ("invalidation.c", "none = { 0, ", "none = { 1, "),
            ("invalidation.c", "    l2_window_set(LEVEL_PTE, 0);\n    if (vpid)", "    if (vpid)"),
            ("functions.c", "list[LIST_ENTRIES - 1] = second_ept();", "list[LIST_ENTRIES - 1] = ept_pointer();"),
            ("functions.c", "l2_registers.ecx = index;", "l2_registers.ecx = index % LIST_ENTRIES;"),
            ("functions.c", "(second_ept() & ~edits[index].clear) | edits[index].set", "second_ept()"),
            ("functions.c", "vmcs_write64(VM_FUNCTION_CONTROLS, 0)",
             "vmcs_write64(VM_FUNCTION_CONTROLS, EPTP_SWITCHING)"),
            ("functions.c", "functions[] = { 64, ", "functions[] = { 63, "),
            ("functions.c", "ENABLE_VM_FUNCTIONS, \"VM functions are fixed", "0, \"VM functions are fixed"),
            ("functions.c", "    *ept_entry(OWN_PDPTE, EPT_PTE) = 0;\n", ""),
            ("guest-faults.c", "l2_window_set(level, entry ^ flips[flip]);", "l2_window_set(level, entry);"),
            ("guest-faults.c", "l2_window_entry(level) & ~(u64)FLAGS", "l2_window_entry(level)"),
            ("guest-faults.c", "    ept_map(guest_physical + inside, l2_window_page, EPT_ALL);\n",
             "    (void)(guest_physical + inside);\n"),
            ("guest-faults.c", "l2_window_set(level, plain | (u64)1 << bit);", "l2_window_set(level, plain);"),
            ("guest-faults.c", "        ept_protect_at(OWN_PDPTE, EPT_EXECUTE);\n", ""),
            ("without-ept.c", "ERROR_CODE_MATCH, match)", "ERROR_CODE_MATCH, match ^ PF_WRITE)"),
            ("without-ept.c", "    l2_tables.pae.pdpt[1] = 0;\n", ""),
            ("without-ept.c", "load_cr3(false, 0)", "load_cr3(true, 0)"),
            ("without-ept.c", "load_cr3(true, (u64)1 << bit)", "load_cr3(true, 0)"),
            ("without-ept.c", "INVLPG_EXITING, \"no", "0, \"no"),
            ("without-ept.c", "second_page[word] = second;", "second_page[word] = first;"),
            ("l1-operands.c", "window_set(level, window_entry(level) ^ rule->flip);", ""),
            ("l1-operands.c", "PTE_WRITABLE, 0, 0)", "PTE_WRITABLE, 1, 1)"),
        ],
        [
            "W-21/remapped", "W-21/remapped-table", "W-21/other-*", "W-22/*", "W-23/*", "W-24/*", "W-29/*", "W-30/*",
            "W-31/*", "W-32/*", "W-33/*",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("stage", BROKEN)
async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path, stage: str) -> None:
    edits, failing = BROKEN[stage]
    told = statuses(await records(CASE, built(CASE, tmp_path, edits)))
    cannot = known_on_bochs(CASE) | OPEN | NEVER_HERE
    assert {check for check, status in told.items() if status == "FAIL"} - cannot == matching(failing, told) - cannot


def test_each_check_is_among_those_that_were_seen_to_fail(image: BuiltImage) -> None:
    ids = {about.check for about in image.checks}
    seen = set().union(*(matching(failing, ids) for _, failing in BROKEN.values())) | known_on_bochs(CASE)
    assert ids == seen | OPEN | NEVER_HERE | LATER_BOCHS
