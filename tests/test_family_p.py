"""Family P of the catalogue, PAE paging and the PDPTE registers: what Bochs says, and that each check can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

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

CASE = case_called("pdpte")
OPEN = {"P-04/not-present", "P-19/corrupt-table", "P-23/cr3-above-ram"}
LATER_CPUS = {"P-13/smap", "P-14/pke", "P-14/cet"}  # what they toggle, the default CPU model lacks
NEVER_HERE = {"P-14/la57", "P-14/pks"}  # no CPU model of Bochs 2.7 has it

pytestmark = pytest.mark.boots


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = [about.check for about in built(CASE, tmp_path).checks]
    assert {check.partition("/")[0] for check in ids} == {f"P-{row:02}" for row in range(1, 25)}
    assert {check for known in CASE.manifest.known for check in known.checks} <= set(ids)


@pytest.mark.parametrize(
    ("model", "missing"),
    [("corei7_haswell_4770", LATER_CPUS), ("broadwell_ult", {"P-14/pke", "P-14/cet"}), ("tigerlake", set())],
)
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, model: str, missing: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path), Bochs(cpu_model=model)))
    skipped = missing | NEVER_HERE
    assert {check for check, status in told.items() if status == "SKIP"} == skipped
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(CASE) - skipped
    assert {check for check, status in told.items() if status == "OPEN"} == OPEN


async def test_no_check_depends_on_another(tmp_path: Path) -> None:
    await assert_no_check_depends_on_another(CASE, built(CASE, tmp_path))


async def test_a_cpu_that_is_not_intels_need_not_have_pdpte_registers(tmp_path: Path) -> None:
    told = await records(CASE, built(CASE, tmp_path), Tcg())
    assert told["P-09/wp"].reason == "not one of Intel's CPUs"
    wrong = wrong_on_tcg(CASE)
    assert {check for check, record in told.items() if record.status == "FAIL"} == wrong


class TcgAsIntels(Tcg):
    """It calls itself one of Intel's CPUs and executes SYSCALL outside 64-bit mode, as AMD's do."""

    model = "max,vendor=GenuineIntel"


async def test_a_cpu_that_executes_syscall_outside_64_bit_mode_fails(tmp_path: Path) -> None:
    record = (await records(CASE, built(CASE, tmp_path), TcgAsIntels(), only=["P-21/syscall"]))["P-21/syscall"]
    assert record.status == "FAIL" and record.fields["fault"] == "0x0"


# What breaks the stage or the expectation of these checks, so that they fail on a CPU model that passes them otherwise.
LOADS = {"P-08/cd", "P-08/nw", "P-12/pge", "P-12/pge-beside-mce", "P-12/pse", "P-12/smep"}
NO_LOADS = {"P-11/clts", "P-21/far-jump", "P-21/iret", "P-21/sysenter", "P-21/syscall", "P-24/invlpg"}
RESERVED = {"P-01/mov-cr0", "P-01/mov-cr0-nxe", "P-02/mov-cr3", "P-03/mov-cr4"}
CORRUPT = "clearing, other_pdpte() | PDPTE_RESERVED);\n        must(fields[clearing].fault, corrupt.trap.taken, "
SWITCH = "struct task_switch seen = task_switch("
BROKEN: list[tuple[list[Edit], set[str]]] = [
    ([("reserved-bits.c", "*pdpte = sound | bit;", "*pdpte = sound;")], RESERVED),
    ([("reserved-bits.c", "FREE_BITS = 0xE18", "FREE_BITS = 0xE1A")], {"P-05/free-bits"}),
    ([("reserved-bits.c", "mov_to_cr4, bits_32.cr4", "mov_to_cr4, there.cr4 ^ CR4_PGE")], {"P-22/pae-to-32-bit"}),
    ([("toggle.c", f"{CORRUPT}true)", f"{CORRUPT.replace(' | PDPTE_RESERVED', '')}true)")], LOADS),
    # A sound PDPTE, and something that does load it: the window alone must give it away.
    ([("toggle.c", "run(toggle, clearing, other_pdpte());", "run(toggle, clearing, tables.pdpt[WINDOW]);")], LOADS),
    ([("no-loads.c", "other_pdpte() | PDPTE_RESERVED", "other_pdpte()"),
      ("no-loads.c", "trap_in(body, argument);", "trap_in(body, argument);\n    write_cr3(read_cr3());")], NO_LOADS),
    # A CPU that executes SYSCALL, as AMD's do.
    ([("no-loads.c", "syscall_instruction: syscall", "syscall_instruction: movl $1f, %ecx; jmp syscall_target; 1:")],
     {"P-21/syscall"}),
    ([("toggle.c", f"run(toggle, {CORRUPT}false)", f"run((struct toggle){{ .cr4 = CR4_PGE }}, {CORRUPT}false)")],
     {"P-15/de", "P-15/tsd", "P-15/osfxsr", "P-15/mce", "P-15/beside-mce"}),
    ([("loads.c", "tables.pdpt[WINDOW] = other_pdpte();\n    must(\"window\", through_window(), HERE);",
       "tables.pdpt[WINDOW] = other_pdpte();\n    write_cr3(read_cr3());\n    must(\"window\", through_window(), "
       "HERE);")],
     {"P-07/memory-alone"}),
    ([("loads.c", "    must_not_fault(trap_in(mov_to_cr3, pae().cr3));\n", "")], {"P-07/mov-cr3"}),
    ([("translation.c", "trap.error_code, error_code);", "trap.error_code, error_code | 1);")],
     {"P-06/read", "P-06/write", "P-06/fetch", "P-06/outs", "P-06/ins"}),
    ([("translation.c", "u32 page = FIRST_PAGE + quarter * PAGES_APART;\n        tables",
       "u32 page = FIRST_PAGE + (quarter & 2) * PAGES_APART;\n        tables")], {"P-16/ins"}),
    ([("translation.c", "pdpt[1] = other_pdpte();", "pdpt[1] = tables.pdpt[WINDOW];")], {"P-16/table-at-fe0"}),
    ([("translation.c", "| PTE_LARGE | PTE_PRESENT;", "| PTE_PRESENT;")],
     {"P-17/without-pse", "P-18/large-page", "P-18/large-page-nxe", "P-18/outs"}),
    ([("task-switch.c", f"mode_enter(pae());\n    {SWITCH}address_of(other_pdpt)", f"mode_enter(pae());\n    "
                                                                                   f"{SWITCH}pae().cr3")],
     {"P-19/good-table"}),
    ([("task-switch.c", "set_other_table(other_pdpte() | PDPTE_RESERVED);", "set_other_table(other_pdpte());")],
     {"P-19/corrupt-table"}),
    ([("task-switch.c", f"{SWITCH}pae().cr3);", "struct task_switch seen = { .trap = trap_in(mov_to_cr3, pae().cr3) "
                                                "};")],
     {"P-20/same-cr3", "P-20/same-cr3-corrupt"}),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "failing"), BROKEN, ids=lambda value: min(value) if isinstance(value, set) else "")
async def test_on_a_broken_stage_the_checks_fail(tmp_path: Path, edits: list[Edit], failing: set[str]) -> None:
    told = statuses(await records(CASE, built(CASE, tmp_path, edits)))
    assert {check for check, status in told.items() if status == "FAIL"} - known_on_bochs(CASE) == failing


async def test_the_check_of_absent_entries_sees_what_the_cpu_looks_at(tmp_path: Path) -> None:
    """P-04 requires nothing, so it cannot fail: with P = 1 its mask must have all the reserved bits."""
    edited = built(
        CASE, tmp_path, [("reserved-bits.c", "tables.pdpt[index] = 0;", "tables.pdpt[index] |= PTE_PRESENT;")]
    )
    told = await records(CASE, edited, only=["P-04/not-present", "P-01/mov-cr0"])
    assert told["P-04/not-present"].free["faulting_bits_3"] == told["P-01/mov-cr0"].fields["faulting_bits_3"]


def test_each_check_is_among_those_that_were_seen_to_fail(tmp_path: Path) -> None:
    cannot = {"P-04/not-present", "P-23/cr3-above-ram"}
    seen = set().union(*(failing for _, failing in BROKEN)) | known_on_bochs(CASE) | cannot | NEVER_HERE
    assert {about.check for about in built(CASE, tmp_path).checks} == seen
