"""Family L1 of the catalogue, enabling paging and consistent control registers: what Bochs says, that each check can
fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.image.build import BuiltImage
from emulators.bochs.target import Bochs
from emulators.qemu.target import Tcg

from .families import (
    Edit,
    assert_no_check_depends_on_another,
    built,
    case_called,
    known_on_bochs,
    records,
    statuses,
    wrong_on_tcg,
)

CASE = case_called("paging")
ROWS = {f"L1-{row:02}" for row in range(1, 24)}
OPEN = {"L1-22/mov-cr3-global"}
PCID = {
    "L1-09",
    "L1-12/control",
    "L1-12/cr3-low-bits",
    "L1-12/32-bit-paging",
    "L1-12/pae-paging",
    "L1-12/without-paging",
}
SMEP = {f"L1-21/smep/{mode}" for mode in ("32-bit-paging", "pae-paging", "4-level-paging")}
SMEP |= {"L1-21/user-smep", "L1-21/smep-set-in-user-page"}
SMAP = {f"L1-21/smap/{mode}" for mode in ("32-bit-paging", "pae-paging", "4-level-paging")}
SMAP |= {f"L1-21/smap-string-io/{mode}" for mode in ("32-bit-paging", "pae-paging", "4-level-paging")}
SMAP |= {"L1-21/user-smap", "L1-21/smap-set-before-access"}
CET = {"L1-17/control", "L1-17/cet-set", "L1-17/wp-cleared"}
LA57 = {"L1-11/without-paging", "L1-11/compatibility", "L1-11/64-bit"}  # TCG alone has it
NEVER_HERE = {"L1-15/nxe-unsupported"}  # every CPU with Intel 64 has execute-disable
NOT_INTELS = {"L1-15/reserved", "L1-18/each-bit", "L1-18/high-half"}
TCG_WRONG = wrong_on_tcg(CASE)

pytestmark = pytest.mark.boots


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The case as it is."""
    return built(CASE, tmp_path_factory.mktemp("paging"))


def test_every_row_of_the_catalogue_has_a_check(image: BuiltImage) -> None:
    ids = {about.check for about in image.checks}
    assert {check.partition("/")[0] for check in ids} == ROWS
    assert {check for known in CASE.manifest.known for check in known.checks} <= ids


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("core2_penryn_t9600", PCID | SMEP | SMAP | CET),
        ("corei7_haswell_4770", SMAP | CET),
        ("corei7_skylake_x", CET),
        ("tigerlake", set()),
    ],
)
async def test_bochs_fails_what_is_known_and_nothing_else(image: BuiltImage, model: str, missing: set[str]) -> None:
    told = statuses(await records(CASE, image, Bochs(cpu_model=model)))
    assert {check for check, status in told.items() if status == "SKIP"} == missing | LA57 | NEVER_HERE
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE)
    assert {check for check, status in told.items() if status == "OPEN"} == OPEN


async def test_no_check_depends_on_another(image: BuiltImage) -> None:
    await assert_no_check_depends_on_another(CASE, image)


async def test_a_cpu_that_lets_pass_what_it_must_refuse_fails_and_loses_no_check(image: BuiltImage) -> None:
    told = statuses(await records(CASE, image, Tcg()))
    assert {check for check, status in told.items() if status == "FAIL"} == TCG_WRONG
    assert {check for check, status in told.items() if status == "SKIP"} == PCID | CET | NEVER_HERE | NOT_INTELS


# Each edit breaks the stage or the expectation of these checks, and of no others.
EACH_PAGING = ("32-bit-paging", "pae-paging", "4-level-paging")
BROKEN: list[tuple[Edit, set[str]]] = [
    (("cr0.c", "trap_in(mov_to_cr0, read_cr0() | CR0_PG)", "trap_in(mov_to_cr0, read_cr0())"), {"L1-01/control"}),
    (("cr0.c", "trap_in_real(real_mov_to_cr0, real | CR0_PG)", "trap_in_real(real_mov_to_cr0, real)"),
     {"L1-01/real-mode"}),
    (("cr0.c", "valid[] = { CR0_CD, CR0_CD | CR0_NW, 0 }", "valid[] = { CR0_CD, CR0_NW, 0 }"), {"L1-02/control"}),
    (("cr0.c", "cr0 / CR0_ET & 1, 1)", "cr0 / CR0_ET & 1, 0)"), {"L1-04"}),
    (("ia32e.c", "    long_stage();\n    u64 before", "    long_stage();\n    write_cr4(0);\n    u64 before"),
     {"L1-16/activated"}),
    (("ia32e.c", "    long_enter();\n    u64 before", "    long_enter();\n    write_cr4(CR4_PAE | CR4_PCIDE);\n    "
                                                      "u64 before"),
     {"L1-16/deactivated"}),
    (("ia32e.c", "gdt_write(SELECTOR_SPARE, CODE_16_BIT)", "gdt_write(SELECTOR_SPARE, CODE_64_BIT)"),
     {"L1-06/control"}),
    (("ia32e.c", "    write_cr4(read_cr4() | CR4_PCIDE);\n", ""), {"L1-09"}),
    (("efer.c", "trap_in(write_efer, before).taken", "trap_in(write_efer, before ^ EFER_LME).taken"),
     {"L1-13/same-value"}),
    (("efer.c", "before, 0);\n    saw(", "before, EFER_LMA);\n    saw("), {"L1-14/set", "L1-14/clear"}),
    (("efer.c", "| EFER_LMA | EFER_NXE))", "| EFER_LMA))"), {"L1-15/reserved"}),
    (("efer.c", "trap_in(write_efer, before | EFER_NXE)", "trap_in(write_efer, before)"), {"L1-15/nxe-supported"}),
    (("cr4.c", "    must_toggle(CR4_PCIDE);", "    write_cr3(read_cr3() | 8);\n    must_toggle(CR4_PCIDE);"),
     {"L1-12/control"}),
    (("cr4.c", "is_gp(trap_in(mov_to_cr4, cr4 | CR4_PCIDE)", "is_gp(trap_in(mov_to_cr4, cr4)"), {"L1-12/cr3-low-bits"}),
    (("cr4.c", "trap_in(mov_to_cr4, value)", "trap_in(mov_to_cr4, value & before)"),
     {"L1-12/32-bit-paging", "L1-12/pae-paging", "L1-12/without-paging", "L1-17/cet-set"}),
    (("cr4.c", "    write_cr0(cr0 | CR0_WP);\n    must_toggle", "    must_toggle"), {"L1-17/control"}),
    (("cr4.c", "    write_cr4(cr4 | CR4_CET);\n", ""), {"L1-17/wp-cleared"}),
    (("cr4.c", "{ CR4_DE, FEATURE_DE }", "{ 0, FEATURE_DE }"), {"L1-18/each-bit"}),
    (("cr4.c", "~(u64)0 << 33", "~(u64)0 << 7"), {"L1-18/high-half"}),
    (("rights.c", ".cr0 = CR0_WP", ".cr0 = 0"),
     {f"L1-20/{name}/{mode}" for name in ("supervisor", "string-io") for mode in EACH_PAGING}),
    (("rights.c", "flags_after(ACCESS_INS, paging)", "flags_after(ACCESS_OUTS, paging)"),
     {f"L1-20/string-io-flags/{mode}" for mode in EACH_PAGING}),
    (("rights.c", "#define SMEP ((struct setting){ .cr4 = CR4_SMEP", "#define SMEP ((struct setting){ .cr4 = 0"),
     {f"L1-21/smep/{mode}" for mode in EACH_PAGING}),
    (("rights.c", "#define SMAP ((struct setting){ .cr4 = CR4_SMAP", "#define SMAP ((struct setting){ .cr4 = 0"),
     {f"L1-21/{name}/{mode}" for name in ("smap", "smap-string-io") for mode in EACH_PAGING}),
    (("rights.c", "lowest = (u64)1 << physical_address_bits(), highest = (u64)1 << 51",
      "lowest = PTE_GLOBAL, highest = PTE_GLOBAL"),
     {f"L1-19/{name}/{mode}" for name in ("address-bits", "string-io") for mode in EACH_PAGING[1:]}),
    (("rights.c", ".efer = EFER_NXE", ".efer = 0"),
     {f"L1-23/{name}/{mode}" for name in ("nxe-0", "nxe-1", "string-io") for mode in EACH_PAGING[1:]}),
    (("rights.c", "&writes, USER_PAGE, WP)", "&writes, USER_PAGE & ~PTE_WRITABLE, WP)"),
     {"L1-20/user-control"}),
    (("rights.c", "USER_PAGE & ~PTE_WRITABLE, PLAIN)", "USER_PAGE, PLAIN)"), {"L1-20/user"}),
    (("rights.c", "&reads, USER_PAGE, SMEP)", "&reads, SUPERVISOR_PAGE, SMEP)"), {"L1-21/user-smep"}),
    (("rights.c", "&writes, USER_PAGE, SMAP)", "&writes, SUPERVISOR_PAGE, SMAP)"), {"L1-21/user-smap"}),
    (("rights.c", "USER_PAGE);\n    copy_to_window(set_smep", "SUPERVISOR_PAGE);\n    copy_to_window(set_smep"),
     {"L1-21/smep-set-in-user-page"}),
    (("rights.c", "USER_PAGE);\n    bool control", "SUPERVISOR_PAGE);\n    bool control"),
     {"L1-21/smap-set-before-access"}),
    (("translation.c", "window_set(LEVEL_PDE, LARGE_PAGE);", "window_set(LEVEL_PDE, LARGE_PAGE | 1u << 22);"),
     {"L1-19/control"}),
    (("translation.c", "must_invalidate(mov_to_cr3, CR4_PGE, 0, 0)", "must_invalidate(mov_to_cr3, CR4_PGE, 0, "
                                                                     "PTE_GLOBAL)"),
     {"L1-22/mov-cr3-not-global"}),
    (("translation.c", "mov_to_cr4, CR4_PGE, CR4_PSE, ", "mov_to_cr4, CR4_PGE, CR4_PSE | CR4_PGE, "),
     {"L1-22/pge-cleared"}),
    (("translation.c", "mov_to_cr4, 0, CR4_PSE | CR4_PGE, ", "mov_to_cr4, 0, CR4_PSE, "), {"L1-22/pge-set"}),
]  # fmt: skip
BROKEN_LA57: list[Edit] = [
    ("cr4.c", "trap_in(mov_to_cr4, cr4 | bit)", "trap_in(mov_to_cr4, cr4)"),
    ("cr4.c", "trap_in_64(mov_to_cr4_64, cr4 | CR4_LA57)", "trap_in_64(mov_to_cr4_64, cr4)"),
]


async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path) -> None:
    """On the CPU model that passes them all otherwise. One boot: an edit that missed its checks or hit others would
    show.
    """
    edited = built(CASE, tmp_path, [edit for edit, _ in BROKEN])
    told = statuses(await records(CASE, edited, Bochs(cpu_model="tigerlake")))
    assert {check for check, status in told.items() if status == "FAIL"} == set().union(
        *(failing for _, failing in BROKEN)
    )


async def test_a_cpu_that_keeps_no_translation_has_none_to_invalidate(tmp_path: Path) -> None:
    """The control loses the translation by MOV to CR3, as far as it is not global."""
    edit: Edit = ("translation.c", "    (void)argument;\n", "    mov_to_cr3(read_cr3() | argument * 0);\n")
    checks = {f"L1-22/{name}": "SKIP" for name in ("mov-cr3-not-global", "pge-set")} | {"L1-22/pge-cleared": "PASS"}
    assert statuses(await records(CASE, built(CASE, tmp_path, [edit]), only=sorted(checks))) == checks


async def test_on_a_broken_stage_the_checks_of_la57_fail(tmp_path: Path) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path, BROKEN_LA57), Tcg(), only=sorted(LA57)))
    assert told == dict.fromkeys(LA57, "FAIL")


def test_each_check_is_among_those_that_were_seen_to_fail(image: BuiltImage) -> None:
    seen = set().union(*(failing for _, failing in BROKEN)) | TCG_WRONG | LA57
    assert {about.check for about in image.checks} == seen | OPEN | NEVER_HERE
