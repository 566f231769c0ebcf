"""Any number of stored runs of made-up versions, each check with a rule that says where it diverges.

Runs of one pair of versions share their files on the disk by hard links, so that thousands cost little.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from difftest.atomic import encode
from difftest.judging.result import Result
from difftest.verdict import Status, Verdict
from tests import sample_run as sample

FAMILIES = 8


def kernels(many: int) -> list[str]:
    return [f"6.{number}.{number * 7 % 100}" for number in range(1, many + 1)]


def programs(many: int) -> list[str]:
    return [f"{2 + number // 10}.{number % 10}" for number in range(7, 7 + many)]


def wrong(number: int, kernel: int, program: int, at: tuple[int, int]) -> tuple[bool, bool]:
    """Whether KVM and whether Bochs is wrong in a check, by the places of the versions among `at` of them: every third
    check is of KVM's faults, which are repaired at one kernel; every fifth of Bochs'.
    """
    of_kvm = number % 3 == 0 and kernel < (number * 7) % (at[0] + 1)
    of_bochs = number % 5 == 0 and program < (number * 3) % (at[1] + 1)
    return of_kvm, of_bochs


VERDICTS = {
    (False, False): Verdict.AGREE,
    (True, False): Verdict.SUBJECT_WRONG,
    (False, True): Verdict.REFERENCE_WRONG,
    (True, True): Verdict.BOTH_WRONG,
}


def result(number: int, of_kvm: bool, of_bochs: bool) -> Result:
    statuses = " ".join(Status.FAIL.value if bad else Status.PASS.value for bad in (of_bochs, of_kvm))
    return sample.result(
        VERDICTS[of_kvm, of_bochs],
        statuses=statuses,
        subject=sample.SUBJECT,
        case=f"family-{number % FAMILIES}",
        check=f"X-{number:03}/one",
        summary=f"what number {number} of the generated checks requires of the guest",
        sdm="Control Registers (Vol. 3, 2.5)",
        reason="as generated",
    )


def write_runs(
    root: Path, of: tuple[int, int], runs: int, checks: int, newest: datetime | None = None
) -> Sequence[Path]:
    """Store runs below `root`, `of` so many kernels and programs, an hour apart."""
    begin = (newest or datetime(2026, 11, 30, 12, tzinfo=UTC)) - timedelta(hours=runs - 1)
    shared: dict[tuple[int, int], Path] = {}
    folders = []
    for number in range(runs):
        kernel, program = number // of[1] % of[0], number % of[1]
        started = begin + timedelta(hours=number)
        folder = root / f"{started:%Y%m%d-%H%M%S}-{number:08x}"
        folder.mkdir(parents=True)
        meta = sample.meta(folder.name)
        identities = {
            **meta.identities,
            "bochs": {"bochs": f"{programs(of[1])[program]}+dfsg-1", "cpu model": "corei7_haswell_4770"},
            "kvm-hosted": {**meta.identities["kvm-hosted"], "kernel": f"{kernels(of[0])[kernel]}-1"},
        }
        meta = msgspec.structs.replace(meta, started=started.isoformat(), identities=identities, status="finished")
        (folder / "run.json").write_bytes(encode(meta))
        for family in range(FAMILIES):
            case = folder / "cases" / f"family-{family}"
            case.mkdir(parents=True)
            if former := shared.get((kernel, program)):
                for name in ("case.json", "results.json"):
                    os.link(former / "cases" / case.name / name, case / name)
                continue
            results = [
                result(one, *wrong(one, kernel, program, of)) for one in range(checks) if one % FAMILIES == family
            ]
            (case / "case.json").write_bytes(encode(sample.snapshot(case.name)))
            (case / "results.json").write_bytes(encode(results))
        shared.setdefault((kernel, program), folder)
        folders.append(folder)
    return folders
