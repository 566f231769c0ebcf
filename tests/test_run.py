"""The run loop with scripted targets: nothing is lost, whatever a target does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from difftest.case.case import Case
from difftest.case.manifest import About, Manifest
from difftest.image.prepare import Prepared
from difftest.judging.result import Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.run import execute as execute_module
from difftest.run import runner as run_module
from difftest.run.plan import Job, Plan, names_of
from difftest.run.store import CaseSnapshot, Meta, RunWriter, StoredRun, new_run_id, now
from difftest.verdict import Verdict
from emulators.fake import Fake, observation
from emulators.host.errors import EmulatorError
from emulators.observation import Boot, Ending, Observation

FINE = b"difftest 1 start a\ndifftest 1 check a PASS x=0x1\ndifftest 1 end checks=1\nHalt: done\n"


@pytest.fixture(autouse=True)
def _blank_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}
    monkeypatch.setattr(run_module, "read_screen", lambda seen, afresh: ScreenReading(rows=rows, text=[""] * 25))


def fine(name: str) -> Callable[[Boot], Observation]:
    return lambda boot: observation(name, FINE)


def execute(
    tmp_path: Path, reference: Fake, subject: Fake, cases: int = 1, repeats: int = 1
) -> tuple[list[Result], StoredRun]:
    image = tmp_path / "x.img"
    image.write_bytes(bytes(512))
    jobs = []
    for number in range(cases):
        case = Case(manifest=Manifest(name=f"case{number}", image="x.img", end="^Halt"), folder=tmp_path)
        prepared = Prepared(case=case, image=image, sha256="0" * 64, abouts=(About(check="a"),))
        jobs.append(Job(prepared=prepared, subjects=(subject.name,)))
    plan = Plan(jobs=tuple(jobs), reference=reference.name, repeats=repeats)
    targets = {target.name: target for target in (reference, subject)}
    meta = Meta(
        run=new_run_id(),
        tool_version="0",
        command=[],
        started=now(),
        reference=reference.name,
        targets={name: names_of(target) for name, target in targets.items()},
        identities={},
    )
    writer = RunWriter.create(tmp_path / "results", meta)
    for job in jobs:
        name = job.prepared.case.name
        writer.add_case(CaseSnapshot(name=name, image_sha256="0" * 64, image_bytes=512, argument=name), image)
    results = asyncio.run(execute_module.execute(plan, targets, writer, lambda case, target, line: None))
    return results, StoredRun.open(tmp_path / "results" / meta.run)


def test_every_case_is_booted_on_both_sides_as_often_as_asked(tmp_path: Path) -> None:
    results, stored = execute(tmp_path, Fake("bochs", fine("bochs")), Fake("kvm", fine("kvm")), cases=3, repeats=2)
    assert [result.verdict for result in results] == [Verdict.AGREE] * 3
    assert {target: len(boots) for target, boots in stored.observations("case1").items()} == {"bochs": 2, "kvm": 2}
    assert stored.results("case2") == [results[2]]


def test_a_target_that_cannot_be_used_is_a_result_with_the_reason(tmp_path: Path) -> None:
    def broken(boot: Boot) -> Observation:
        raise EmulatorError("no room", hint="buy a disk")

    results, stored = execute(tmp_path, Fake("bochs", fine("bochs")), Fake("kvm", broken), cases=2)
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE] * 2
    assert "no room" in results[0].reason and "buy a disk" in results[0].reason
    assert list(stored.observations("case0")) == ["bochs"], "what the other side gave is kept"


def test_an_emulator_that_blows_up_loses_no_other_case(tmp_path: Path) -> None:
    calls = 0

    def once(boot: Boot) -> Observation:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError("a bug in a driver")
        return observation("kvm", FINE)

    results, _ = execute(tmp_path, Fake("bochs", fine("bochs")), Fake("kvm", once), cases=2)
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE, Verdict.AGREE]
    assert "ZeroDivisionError" in results[0].reason


def test_a_missing_capability_is_a_skip_and_boots_nothing(tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    image.write_bytes(bytes(512))
    subject = Fake("kvm", fine("kvm"))
    case = Case(manifest=Manifest(name="case0", image="x.img", needs=["sgx"]), folder=tmp_path)
    job = Job(prepared=Prepared(case=case, image=image, sha256="0" * 64), subjects=("kvm",))
    reference = Fake("bochs", fine("bochs"))
    targets = {"bochs": reference, "kvm": subject}
    meta = Meta(run="r", tool_version="0", command=[], started=now(), reference="bochs", targets={}, identities={})
    writer = RunWriter.create(tmp_path / "results", meta)
    writer.add_case(CaseSnapshot(name="case0", image_sha256="0" * 64, image_bytes=512, argument="case0"), image)
    plan = Plan(jobs=(job,), reference="bochs")
    (result,) = asyncio.run(execute_module.execute(plan, targets, writer, lambda case, target, line: None))
    assert result.verdict == Verdict.SKIPPED and "sgx" in result.reason
    assert subject.sessions == 0


def test_an_observation_that_ended_badly_is_kept_and_decides_nothing(tmp_path: Path) -> None:
    def crashed(boot: Boot) -> Observation:
        return observation("kvm", b"", Ending.CRASH)

    (result,), stored = execute(tmp_path, Fake("bochs", fine("bochs")), Fake("kvm", crashed))
    assert result.verdict == Verdict.INCONCLUSIVE
    assert stored.observations("case0")["kvm"][0][0].ending == Ending.CRASH
