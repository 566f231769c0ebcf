"""Sweeps without an emulator: deaths, differences, signatures, minimising, stopping and going on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from difftest.errors import CaseError, HostError
from difftest.sweeping.findings import Opinion
from difftest.sweeping.generate import vectors
from difftest.sweeping.merge import merged_sweep
from difftest.sweeping.outcomes import CR0_AFTER, CR4_AFTER, DIED, EFER_AFTER, STATUS, TAKEN
from difftest.sweeping.page import write_page
from difftest.sweeping.piece import Stretch, SweepPiece, differing
from difftest.sweeping.promote import write_case
from difftest.sweeping.stored import StoredSweep
from difftest.sweeping.sweep import FamilyResult, Sweep, SweepPlan, SweepResult
from difftest.sweeping.table import BITS_64, PAE, TABLE
from difftest.sweeping.vectors import CR0, CR4, OPERAND, U64, Vectors
from tests.sweep_sides import FACTS, Change, ModelTarget, image, side

OPS = TABLE.ops
WP, TS, PGE = (np.uint64(1 << place) for place in (TABLE.cr0["WP"], TABLE.cr0["TS"], TABLE.cr4["PGE"]))


def plan(family: str = "transitions", count: int = 4000, **more: object) -> SweepPlan:
    return msgspec.structs.replace(SweepPlan(families=(family,), seed=3, vectors=count), **more)


async def swept(folder: Path, what: SweepPlan, cpu: Change | None = None, kvm: Change | None = None) -> FamilyResult:
    sweep = Sweep(what, side("cpu", folder, cpu), side("kvm", folder, kvm), folder, print, lambda done, seconds: None)
    _, results, whole = await sweep.run()
    assert whole
    return results[0]


def stores_wp_wrongly(ran: Vectors, rows: U64) -> None:
    """MOV to CR0 that executes leaves WP as it was in PAE paging."""
    where = (ran.op == OPS["mov-cr0"]) & (ran.base == PAE) & (rows[:, STATUS] == 0)
    rows[where, CR0_AFTER] = (rows[where, CR0_AFTER] & ~WP) | (ran.words[CR0][where] & WP)


def dies_of_ts(ran: Vectors, rows: U64) -> None:
    """CLTS in 64-bit mode with TS and PGE set and WP clear ends the machine."""
    where = (ran.op == OPS["clts"]) & (ran.base == BITS_64)
    where &= ((ran.words[CR0] & (TS | WP)) == TS) & ((ran.words[CR4] & PGE) != 0)
    rows[where, STATUS] = DIED


async def test_equal_sides_that_keep_to_the_model_have_no_finding(tmp_path: Path) -> None:
    result = await swept(tmp_path, plan())
    assert (result.differing, result.findings, result.reviews, result.history) == (0, (), (), ())
    assert result.vectors == 4000 and sum(result.coverage.alone.values()) > 500


async def test_a_difference_is_laid_at_the_door_of_the_side_that_breaks_the_model(tmp_path: Path) -> None:
    result = await swept(tmp_path, plan(), kvm=stores_wp_wrongly)
    (found,) = result.findings
    assert found.signature.opinion == Opinion.KVM_WRONG and found.signature.fields == ("cr0",)
    assert found.edits.changes == {"operand": int(WP)}, "one change is all that it takes"
    assert found.sentence.startswith("PAE paging: MOV to CR0 that sets WP. SDM: executed; Bochs: executed;")
    result = await swept(tmp_path / "other", plan(), cpu=stores_wp_wrongly)
    assert [one.signature.opinion for one in result.findings] == [Opinion.CPU_WRONG]


async def test_what_both_sides_do_against_the_model_is_reviewed_and_never_claimed(tmp_path: Path) -> None:
    result = await swept(tmp_path, plan(), cpu=stores_wp_wrongly, kvm=stores_wp_wrongly)
    assert result.findings == () and [one.signature.opinion for one in result.reviews] == [Opinion.REVIEW]


async def test_what_the_sdm_leaves_open_is_permitted(tmp_path: Path) -> None:
    def drops_ignored_bits(ran: Vectors, rows: U64) -> None:
        where = (ran.op == OPS["mov-cr3"]) & (rows[:, STATUS] == 0)
        rows[where, 5] &= ~np.uint64(7)

    result = await swept(tmp_path, plan("pdpte-loads"), kvm=drops_ignored_bits)
    assert result.permitted > 10 and result.findings == () == result.reviews


@pytest.mark.parametrize("loses", [False, True], ids=["memory-left", "memory-lost"])
async def test_a_vector_that_ends_the_machine_is_an_outcome(tmp_path: Path, loses: bool) -> None:
    what = plan(count=3000)
    kvm = side("kvm", tmp_path, dies_of_ts, loses=loses)
    sweep = Sweep(what, side("cpu", tmp_path), kvm, tmp_path, print, lambda done, seconds: None)
    _, (result,), _ = await sweep.run()
    made = sweep._made("transitions", np.arange(3000, dtype=np.uint64), FACTS)
    rows = np.zeros((3000, 8), dtype=np.uint64)
    dies_of_ts(made, rows)
    assert sorted(result.deaths["kvm"]) == np.flatnonzero(rows[:, STATUS] == DIED).tolist() != []
    assert result.deaths["cpu"] == {} and result.unrun == 0
    (found,) = result.findings
    assert found.signature.endings == ("executed", "died", "executed")
    assert found.edits.changes == {"cr0": int(TS), "cr4": int(PGE)}


async def test_what_many_deaths_have_in_common_is_left_out_from_then_on(tmp_path: Path) -> None:
    """And no other vector is, so that a second finding is not hidden by it."""

    def two(ran: Vectors, rows: U64) -> None:
        stores_wp_wrongly(ran, rows)
        deadly = (ran.op == OPS["clts"]) & (ran.base == BITS_64) & ((ran.words[CR4] & PGE) != 0)
        rows[deadly, STATUS] = DIED

    what = plan(count=8000)
    cpu, kvm = side("cpu", tmp_path), side("kvm", tmp_path, two)
    _, (result,), _ = await Sweep(what, cpu, kvm, tmp_path, print, lambda done, seconds: None).run()
    (pattern,) = kvm.patterns("transitions")
    assert 8 <= len(result.deaths["kvm"]) < 20 and result.skipped > 20 and result.unrun == 0
    assert (pattern.base, pattern.op) == (BITS_64, OPS["clts"]) and pattern.mask[CR4] & pattern.value[CR4] & int(PGE)
    assert {one.signature.endings[1] for one in result.findings} == {"died", "executed"}
    made = vectors(TABLE.families["transitions"], 3, 0, 8000, FACTS)
    rows = np.zeros((8000, 8), dtype=np.uint64)
    two(made, rows)
    assert result.skipped + len(result.deaths["kvm"]) == int(np.sum(rows[:, STATUS] == DIED))


async def test_a_boot_that_says_nothing_of_the_guest_is_no_death(tmp_path: Path) -> None:
    target = ModelTarget("kvm", crashes=9)
    from difftest.sweeping.engine import SweepSide

    with pytest.raises(HostError):
        await SweepSide("kvm", target, image(tmp_path), print).piece("transitions", 1, 0, 100, FACTS)


async def test_many_differences_of_five_causes_are_five_signatures(tmp_path: Path) -> None:
    def five(ran: Vectors, rows: U64) -> None:
        fine, op, operand = rows[:, STATUS] == 0, ran.op, ran.words[OPERAND]
        before = rows.copy()
        faults = (op == OPS["wrmsr-efer"]) & fine & ((operand & np.uint64(1)) != 0)
        rows[faults] = before[faults]
        rows[faults, STATUS] = np.uint64(TAKEN | 6 << 16)
        lmsw = (op == OPS["lmsw"]) & fine
        rows[lmsw, CR0_AFTER] ^= np.uint64(4)
        clts = (op == OPS["clts"]) & (ran.base == PAE)
        rows[clts, EFER_AFTER] ^= np.uint64(1)
        to_cr4 = (op == OPS["mov-cr4"]) & fine & ((operand & PGE) != 0)
        rows[to_cr4, CR4_AFTER] ^= np.uint64(8)
        loose = (op == OPS["mov-cr0"]) & (rows[:, STATUS] == TAKEN | 13 << 16) & ((operand >> np.uint64(32)) != 0)
        rows[loose, STATUS] = 0

    result = await swept(tmp_path, plan(count=20_000), kvm=five)
    assert result.differing > 1000
    assert len(result.findings) == 5, [one.sentence for one in result.findings]
    assert all(one.edits.count <= 3 for one in result.findings)


def test_a_block_that_differs_while_no_byte_does_is_asked_as_a_whole() -> None:
    bytes_ = bytes(range(256)) + bytes(44)
    one = SweepPiece(family="f", side="cpu", first=10, count=300, runs=[Stretch(10, bytes_, b"A" * 8 + b"B" * 8)])
    other = msgspec.structs.replace(one, side="kvm", runs=[Stretch(10, bytes_, b"A" * 8 + b"C" * 8)])
    assert differing(one, one) == [] and differing(one, other) == list(range(266, 310))
    changed = msgspec.structs.replace(other, runs=[Stretch(10, bytes_[:299] + b"x", b"A" * 8 + b"C" * 8)])
    assert differing(one, changed) == [309]


async def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    first = await swept(tmp_path, plan(), kvm=stores_wp_wrongly)
    cpu, kvm = side("cpu", tmp_path), side("kvm", tmp_path, stores_wp_wrongly)
    pieces = sorted((tmp_path / "pieces").iterdir())
    pieces[0].unlink()
    _, (again,), _ = await Sweep(plan(), cpu, kvm, tmp_path, print, lambda done, seconds: None).run()
    assert sorted((tmp_path / "pieces").iterdir()) == pieces
    assert [one.signature for one in again.findings] == [one.signature for one in first.findings]
    assert (again.vectors, again.differing) == (first.vectors, first.differing)


async def _stored(folder: Path, what: SweepPlan, identity: str = "6.1") -> StoredSweep:
    folder.mkdir(parents=True)
    result = await swept(folder, what, kvm=stores_wp_wrongly)
    kept = SweepResult(
        plan=what, status="finished", facts=FACTS, identities={"kvm": {"k": identity}}, families=(result,)
    )
    kept.keep(folder)
    return StoredSweep(folder)


async def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    count = 3 * (1 << 15)
    whole = await _stored(tmp_path / "whole", plan(count=count))
    parts = [await _stored(tmp_path / f"part{k}", plan(count=count, shard=(k, 2))) for k in range(2)]
    together = StoredSweep(merged_sweep(parts, tmp_path))
    one, other = whole.result.families[0], together.result.families[0]
    assert (one.vectors, one.differing, one.coverage) == (other.vectors, other.differing, other.coverage)
    assert [found.signature for found in one.findings] == [found.signature for found in other.findings]
    with pytest.raises(CaseError, match="missing"):
        merged_sweep(parts[:1], tmp_path)
    with pytest.raises(CaseError, match="twice"):
        merged_sweep([parts[0], parts[0]], tmp_path)
    stranger = await _stored(tmp_path / "stranger", plan(count=count, shard=(1, 2)), identity="5.10")
    with pytest.raises(CaseError, match="kernel"):
        merged_sweep([parts[0], stranger], tmp_path)


async def test_a_finding_becomes_a_case_that_builds(tmp_path: Path) -> None:
    from difftest.case.case import load
    from difftest.image.build import build_case

    stored = await _stored(tmp_path / "sweep-1", plan())
    found = stored.findings()[0]
    folder = write_case(tmp_path / "promoted", [found], stored.result.facts)
    case = load(folder)
    built = build_case(case.name, folder, case.manifest.sources, tmp_path / "built")
    assert [about.check.partition("/")[2] for about in built.checks] == ["control", "finding"]
    assert built.checks[1].summary == "MOV to CR0 that sets WP in PAE paging executes"
    with pytest.raises(CaseError, match="has no finding"):
        stored.finding("mov-cr0-000000")
    page = write_page(stored).read_text()
    assert found.signature.name in page and "&lt;" not in found.signature.name
