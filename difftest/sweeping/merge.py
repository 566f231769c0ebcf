"""Shards of a sweep as one: their counts added up, their findings by signature."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from difftest.errors import CaseError
from difftest.run.writer import new_run_id
from difftest.sweeping.minimise import merged
from difftest.sweeping.page import write_page
from difftest.sweeping.stored import StoredSweep
from difftest.sweeping.sweep import Coverage, FamilyResult


def merged_sweep(parts: Sequence[StoredSweep], results: Path) -> Path:
    """One sweep of its shards, in a folder of its own. Raises CaseError where they are not parts of one sweep."""
    first = parts[0].result
    for part in parts:
        _refuse_others(parts[0], part)
    shards = [part.result.plan.shard[0] for part in parts]
    if len(set(shards)) < len(shards):
        raise CaseError("a shard is there twice", hint="name each part of the sweep once")
    missing = sorted(set(range(first.plan.shard[1])) - set(shards))
    if missing:
        raise CaseError(
            f"{len(missing)} of {first.plan.shard[1]} shards are missing, the first of them {missing[0] + 1}",
            hint="name all parts of the sweep",
        )
    folder = results / f"sweep-{new_run_id()}"
    (folder / "pieces").mkdir(parents=True)
    for part in parts:
        for piece in (part.folder / "pieces").glob("*.piece"):
            shutil.copy2(piece, folder / "pieces")
    families = [
        _family([family for part in parts for family in part.result.families if family.family == name])
        for name in first.plan.families
    ]
    plan = msgspec.structs.replace(first.plan, shard=(0, 1))
    unfinished = [part.result.status for part in parts if part.result.status != "finished"]
    status = unfinished[0] if unfinished else "finished"
    msgspec.structs.replace(first, plan=plan, families=tuple(families), confirmed_by="", status=status).keep(folder)
    write_page(StoredSweep(folder))
    return folder


def _refuse_others(one: StoredSweep, other: StoredSweep) -> None:
    plans = [
        msgspec.structs.replace(stored.result.plan, shard=(0, stored.result.plan.shard[1]), seconds=None)
        for stored in (one, other)
    ]
    if plans[0] != plans[1]:
        raise CaseError(f"{other.folder.name} is no part of the same sweep as {one.folder.name}: other vectors")
    if one.result.identities != other.result.identities or one.result.facts != other.result.facts:
        raise CaseError(
            f"{other.folder.name} is no part of the same sweep as {one.folder.name}: other programs, kernel or CPU"
        )


def _family(parts: Sequence[FamilyResult]) -> FamilyResult:
    added = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("vectors", "differing", "unasked", "unrun", "skipped", "equal", "permitted", "review")
    }
    return FamilyResult(
        family=parts[0].family,
        **added,
        history=tuple(sorted(number for part in parts for number in part.history)),
        findings=tuple(merged([finding for part in parts for finding in part.findings])),
        reviews=tuple(merged([finding for part in parts for finding in part.reviews])),
        coverage=Coverage(
            *(
                {rule: sum(getattr(part.coverage, name)[rule] for part in parts) for rule in parts[0].coverage.alone}
                for name in ("alone", "kept", "elsewhere")
            )
        ),
        deaths=_joined([part.deaths for part in parts]),
        seconds=_added([part.seconds for part in parts]),
        instructions=_added([part.instructions for part in parts]),
    )


def _added(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {side: sum(part[side] for part in parts) for side in parts[0]}


def _joined(parts: Sequence[dict[str, dict[int, str]]]) -> dict[str, dict[int, str]]:
    return {side: {number: ending for part in parts for number, ending in part[side].items()} for side in parts[0]}
