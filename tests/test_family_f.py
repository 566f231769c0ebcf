"""Family F of the catalogue, events, string I/O, exits and loads around a nested guest: what Bochs says, and that each
check can fail.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from difftest.case.case import Case
from difftest.image.build import KIT, BuiltImage, build_case
from emulators.bochs.target import Bochs

from .families import Edit, assert_no_check_depends_on_another, built, case_called, known_on_bochs, records, statuses

CASES = {
    name: case_called(name)
    for name in ("nested-events", "nested-string-io", "nested-loads", "nested-exits", "ept-no-ram")
}
# What Bochs 2.7 lacks.
MONITOR_TRAP_FLAG = ("one-instruction", "injected", "pending", "each-instruction", "single-step", "pending-debug")
SKIPPED = {"nested-events": {f"monitor-trap-flag/{name}" for name in MONITOR_TRAP_FLAG}}

pytestmark = pytest.mark.boots
each_case = pytest.mark.parametrize("name", CASES)


def test_every_row_of_the_catalogue_has_a_check(tmp_path: Path) -> None:
    ids = {name: {about.check for about in built(case, tmp_path).checks} for name, case in CASES.items()}
    rows = {check.partition("/")[0] for checks in ids.values() for check in checks if check.startswith("F-")}
    assert rows == {f"F-{row:02}" for row in range(1, 17)}
    for name, case in CASES.items():
        assert {check for known in case.manifest.known for check in known.checks} - {"host-kernel"} <= ids[name]


@each_case
async def test_bochs_fails_what_is_known_and_nothing_else(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    told = statuses(await records(case, built(case, tmp_path), Bochs()))
    assert {check for check, status in told.items() if status == "SKIP"} == SKIPPED.get(name, set())
    assert {check for check, status in told.items() if status == "FAIL"} == known_on_bochs(case)


@pytest.mark.proof
@each_case
async def test_no_check_depends_on_another(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    await assert_no_check_depends_on_another(case, built(case, tmp_path), Bochs())


def _with_instruction_before(case: Case, instruction: str, folder: Path) -> BuiltImage:
    """The case's image, in which each piece of L2's code begins with another instruction."""
    sources = folder / "sources"
    shutil.copytree(case.folder, sources)
    header = (KIT / "l2_code.h").read_text()
    assert header.count('": " assembly "') == 1
    (sources / "l2_code.h").write_text(header.replace('": " assembly "', f'": {instruction}\\n" assembly "'))
    return build_case(case.name, sources, case.manifest.sources, folder / "built")


# The case's own writes to the VMCS, to EPT and to the local APIC are lost.
LOST = """
#include "ept.h"
#include "events.h"
#include "vmx.h"
#define vmcs_write(field, value) ((void)(field), (void)(value))
#define vmcs_write64(field, value) ((void)(field), (void)(value))
#define vmcs_set_controls(field, bits, absent) ((void)(field), (void)(bits))
#define vmcs_clear_controls(field, bits, absent) ((void)(field), (void)(bits))
#define event_interrupt(vector) ((void)(vector))
#define event_nmi() ((void)0)
#define ept_flush() (ept_identity(), (ept_flush)())
"""
# What neither of these breaks: checks whose stage is all in L1, or that require that nothing happens.
BROKEN: dict[str, list[Edit]] = {
    "nested-loads": [
        ("debugctl.c", "prepare();\n    vmcs_set", "prepare();\n    vmcs_write(GUEST_RFLAGS, 0);\n    vmcs_set"),
        ("debugctl.c", "63);\n    must_enter", "63);\n    vmcs_write(GUEST_RFLAGS, 0);\n    must_enter"),
        ("host-state.c", "*selector = ldtr();", "*selector = ldtr() ^ 8;"),
        ("host-state.c", "u32 set = osxsave();", "u32 set = !osxsave();"),
        ("l1-pae.c", "    u32 changed = l1_sees();", "    write_cr3(read_cr3());\n    u32 changed = l1_sees();"),
    ],
    "nested-exits": [("instructions.c", "(char)0xA2 };", "(char)0xA2, 0x90 };")],
    "nested-events": [("nmi-blocking.c", "bool blocked = nmis_are_blocked();", "bool blocked = !nmis_are_blocked();")],
}


def _with_writes_lost(case: Case, folder: Path) -> BuiltImage:
    sources = folder / "sources"
    shutil.copytree(case.folder, sources)
    (sources / "check.h").write_text((KIT / "check.h").read_text() + LOST)
    return build_case(case.name, sources, case.manifest.sources, folder / "built")


async def _failing(case: Case, image: BuiltImage) -> set[str]:
    told = statuses(await records(case, image, Bochs()))
    return {check for check, status in told.items() if status == "FAIL"}


@pytest.mark.parametrize(
    "name", [name if name == "nested-string-io" else pytest.param(name, marks=pytest.mark.proof) for name in CASES]
)
async def test_each_check_fails_on_something_wrong(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    images = [_with_instruction_before(case, instruction, tmp_path / instruction) for instruction in ("nop", "ud2")]
    images.append(_with_writes_lost(case, tmp_path / "lost"))
    if name in BROKEN:
        images.append(built(case, tmp_path, BROKEN[name]))
    seen = known_on_bochs(case) | SKIPPED.get(name, set())
    for image in images:
        seen |= await _failing(case, image)
    assert {about.check for about in built(case, tmp_path).checks} - seen == set()
