"""Family P of the catalogue, PAE paging and the PDPTE registers: what Bochs says, and that each check can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.record import Record
from emulators.bochs import Bochs
from emulators.native import Tcg

from .families import Edit, built, case_called, known_on_bochs, records, statuses

CASE = case_called("pdpte")
OPEN = {"p-04-not-present", "p-19-corrupt-table", "p-23-cr3-above-ram"}
LATER_CPUS = {"p-13-smap", "p-14-pke", "p-14-cet"}  # what they toggle, the default CPU model lacks
NEVER_HERE = {"p-14-la57", "p-14-pks"}  # no CPU model of Bochs 2.7 has it

pytestmark = pytest.mark.boots


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = [about.check for about in built(CASE, tmp_path).checks]
    assert {check[:5] for check in ids} == {f"p-{row:02}-" for row in range(1, 25)}
    assert {known.check for known in CASE.manifest.known} <= set(ids)


@pytest.mark.parametrize(
    ("model", "missing"),
    [("corei7_haswell_4770", LATER_CPUS), ("corei7_skylake_x", {"p-14-pke", "p-14-cet"}), ("tigerlake", set())],
)
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, model: str, missing: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path), Bochs(model)))
    skipped = missing | NEVER_HERE
    assert {check for check, status in told.items() if status == "SKIP"} == skipped
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE) - skipped
    assert {check for check, status in told.items() if status == "OPEN"} == OPEN


async def test_no_check_depends_on_another(tmp_path: Path) -> None:
    """All checks in one boot say what they say in boots of every other one."""
    image = built(CASE, tmp_path)
    ids = [about.check for about in image.checks]
    together = await records(CASE, image)
    apart: dict[str, Record] = {}
    for offset in (0, 1):
        apart |= await records(CASE, image, only=ids[offset::2])
    assert {check: (record.status, record.fields) for check, record in apart.items()} == {
        check: (record.status, record.fields) for check, record in together.items()
    }


async def test_tcg_need_not_have_pdpte_registers(tmp_path: Path) -> None:
    told = await records(CASE, built(CASE, tmp_path), Tcg())
    assert told["p-09-wp"].reason == "not one of Intel's CPUs"
    wrong = {known.check for known in CASE.manifest.known if "tcg" in known.targets}
    assert {check for check, record in told.items() if record.status == "FAIL"} == wrong


# Broken stages: each edit makes these checks fail on a CPU model that passes them otherwise.
LOADS = {"p-07-mov-cr3", "p-08-cd", "p-08-nw", "p-12-pge", "p-12-pse", "p-12-smep"}
NO_LOADS = {"p-11-clts", "p-21-far-jump", "p-21-iret", "p-21-sysenter", "p-24-invlpg"}
LOADING = "trap_in(body, argument);\n    trap_in(mov_to_cr0, read_cr0() ^ CR0_CD);"
SOUND = ("no-loads.c", "| PDPTE_RESERVED;\n}", ";\n}")
BROKEN: list[tuple[list[Edit], set[str]]] = [
    ([("reserved-bits.c", "| 0x1E6", "| 0x1E4")], {"p-01-mov-cr0", "p-01-mov-cr0-nxe", "p-02-mov-cr3", "p-03-mov-cr4"}),
    ([("reserved-bits.c", "|= 0xE18", "|= 0xE1A")], {"p-05-ignored-bits"}),
    ([("reserved-bits.c", "read_cr4() & ~CR4_PAE);\n    u32", "read_cr4() ^ CR4_PGE);\n    u32")], {"p-22-pae-to-32-bit"}),
    ([("loads.c", "other_pdpte() | PDPTE_RESERVED", "other_pdpte()")], LOADS),
    ([("loads.c", "    u32 window = through_window();\n    mode_leave();", "    load_cr3();\n    u32 window = through_window();\n"
       "    mode_leave();"), ("loads.c", "struct load {", "static void load_cr3(void)\n{\n    write_cr3(read_cr3());\n}\n"
       "struct load {")], {"p-07-memory-alone"}),
    # The table is sound and something loads it: the window alone must give it away.
    ([SOUND, ("no-loads.c", "struct trap trap = trap_in(body, argument);", f"struct trap trap = {LOADING}")], NO_LOADS),
    ([("no-loads.c", "trap_in(body, value() ^ bit)", "trap_in(mov_to_cr4, value() ^ CR4_PSE)")], {"p-15-other-cr4-bits"}),
    ([("no-loads.c", "trap_in(does_syscall, 0)", "trap_in(clts, 0)")], {"p-21-syscall"}),
    ([("translation.c", "    map.pdpt[QUADRANT_OF_WINDOW] = 0;\n    mode_enter(mode);\n    struct trap trap = trap_in(read_at",
       "    mode_enter(mode);\n    struct trap trap = trap_in(read_at")], {"p-06-read-absent"}),
    ([("translation.c", "trap_in(write_at, WINDOW + 0x3FFFFFF0)", "trap_in(read_at, WINDOW + 0x3FFFFFF0)")], {"p-06-write-absent"}),
    ([("translation.c", "    map.pdpt_at_fe0[QUADRANT_OF_WINDOW] = other_pdpte();\n", "")], {"p-16-table-at-fe0"}),
    ([("translation.c", "[WINDOW_DIRECTORY_ENTRY] = LARGE_PAGE | 3;", "[WINDOW_DIRECTORY_ENTRY] = LARGE_PAGE | 2;")],
     {"p-17-large-page-without-pse", "p-18-large-page-reserved", "p-18-large-page-reserved-nxe"}),
    ([("task-switch.c", "    struct trap trap = trap_in(switch_task, address_of(map.other_pdpt));\n    u32 eax = (u32)mode_value, cr3",
       "    struct trap trap = trap_in(switch_task, address_of(map.pdpt));\n    u32 eax = (u32)mode_value, cr3")], {"p-19-good-table"}),
    ([("task-switch.c", "    map.pdpt[QUADRANT_OF_WINDOW] = other_pdpte();\n", "    map.pdpt_at_fe0[3] = other_pdpte();\n"
       "    write_cr3(address_of(map.pdpt_at_fe0));\n")], {"p-20-same-cr3"}),
    ([("task-switch.c", "= other_pdpte() | PDPTE_RESERVED;\n    struct trap trap = trap_in(switch_task, read_cr3())",
       "= other_pdpte();\n    struct trap trap = trap_in(mov_to_cr3, read_cr3())")], {"p-20-same-cr3-corrupt"}),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "failing"), BROKEN, ids=lambda value: min(value) if isinstance(value, set) else "")
async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path, edits: list[Edit], failing: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path, edits)))
    assert {check for check, status in told.items() if status == "FAIL"} - known_on_bochs(CASE) == failing


def test_each_check_is_among_those_that_were_seen_to_fail(tmp_path: Path) -> None:
    seen = set().union(*(failing for _, failing in BROKEN)) | known_on_bochs(CASE) | OPEN | NEVER_HERE
    assert {about.check for about in built(CASE, tmp_path).checks} == seen
