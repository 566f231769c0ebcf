"""Looking at a divergence again: fake targets that keep to what they said, and such that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from difftest.case.case import Case
from difftest.case.manifest import About, Known, Manifest
from difftest.image.prepare import Prepared
from difftest.judging.confirmation import Confirm, Outcome, counted
from difftest.judging.result import Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.run import confirm
from difftest.run import runner as run
from difftest.run.execute import execute
from difftest.run.plan import Job, Plan
from difftest.run.store import CaseSnapshot, Meta, RunWriter, StoredRun, now
from difftest.verdict import Verdict
from emulators.fake import Fake, observation
from emulators.host.errors import EmulatorError
from emulators.observation import Boot, Ending, Limits, Observation
from emulators.target import OTHER_CPU

RIGHT = b"difftest 1 start a\ndifftest 1 check a PASS x=0x1 must.x=0x1\ndifftest 1 end checks=1\n"
WRONG = b"difftest 1 start a\ndifftest 1 check a FAIL x=0x2 must.x=0x1\ndifftest 1 end checks=1\n"
SCREEN = ScreenReading(rows={20: RowReading(memory="BAD", ocr="BAD", agree=True)}, text=[""] * 25)
Script = Callable[[Boot, int], Observation]


@pytest.fixture(autouse=True)
def screens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "read_screen", lambda seen, afresh: SCREEN)
    monkeypatch.setattr(confirm, "read_again", lambda seen, first: "")


def said(serial: bytes, ending: Ending = Ending.FINISHED) -> Observation:
    return observation("kvm", serial, ending)


def executed(
    folder: Path,
    script: Script,
    *,
    which: Confirm = Confirm.NEW,
    known: list[Known] | None = None,
    thorough: Fake | None = None,
) -> tuple[Result, StoredRun]:
    """Run one case with one check; `script` is the subject, told the number of its boot."""
    boots = iter(range(100))
    reference = Fake("bochs", lambda boot: observation("bochs", RIGHT), implementation="Bochs")
    subject = Fake("kvm", lambda boot: script(boot, next(boots)), implementation="KVM", thorough=thorough)
    image = folder / "x.img"
    image.write_bytes(bytes(512))
    case = Case(manifest=Manifest(name="case", image="x.img", known=known or []), folder=folder)
    abouts = (About(check="a"),)
    prepared = Prepared(case=case, image=image, sha256="0" * 64, abouts=abouts, limits=Limits())
    job = Job(prepared=prepared, subjects=("kvm",))
    meta = Meta(run="r", tool_version="0", command=[], started=now(), reference="bochs", targets={}, identities={})
    writer = RunWriter.create(folder / "results", meta)
    writer.add_case(CaseSnapshot(name="case", image_sha256="0" * 64, image_bytes=512, argument="case"), image)
    plan = Plan(jobs=(job,), reference="bochs", confirm=which)
    targets = {"bochs": reference, "kvm": subject}
    (result,) = asyncio.run(execute(plan, targets, writer, lambda case, target, line: None))
    stored = StoredRun.open(writer.folder)
    assert stored.results("case") == [result], "what is returned is what is on disk"
    return result, stored


def stages(stored: StoredRun) -> dict[str, Outcome]:
    return {stage.name: stage.outcome for one in stored.confirmations("case") for stage in one.stages}


def test_one_that_shows_again_is_confirmed(tmp_path: Path) -> None:
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG))
    assert (result.verdict, result.boots, result.expected) == (Verdict.SUBJECT_WRONG, "2/2", False)
    assert set(stages(stored).values()) == {Outcome.SAME} and OTHER_CPU in stages(stored)
    assert counted(stored.confirmations("case")) == {"confirmed": 1}
    boots = [seen.boot for seen in stored.every_boot("case")["kvm"]]
    assert [(boot.number, boot.variant) for boot in boots] == [(0, ""), (1, ""), (2, OTHER_CPU)]
    assert len(stored.boots("case")["kvm"]) == 2, "variants are no evidence of the plain machine"


def test_one_that_does_not_come_again_is_flaky_and_counted_as_dismissed(tmp_path: Path) -> None:
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG if number == 0 else RIGHT))
    assert result.verdict == Verdict.FLAKY and result.boots == "1/2"
    assert counted(stored.confirmations("case")) == {"dismissed by re-run": 1, f"not with {OTHER_CPU}": 1}


@pytest.mark.parametrize(("cold", "verdict"), [(WRONG, Verdict.SUBJECT_WRONG), (RIGHT, Verdict.FLAKY)])
def test_a_target_with_a_short_cut_is_looked_at_again_without_it(tmp_path: Path, cold: bytes, verdict: Verdict) -> None:
    thorough = Fake("kvm", lambda boot: said(cold), implementation="KVM")
    result, _ = executed(tmp_path, lambda boot, number: said(WRONG), thorough=thorough)
    assert result.verdict == verdict
    assert thorough.sessions == 1


def test_one_of_a_single_cpu_model_stays_and_says_so(tmp_path: Path) -> None:
    result, stored = executed(tmp_path, lambda boot, number: said(RIGHT if boot.machine.cpu_models else WRONG))
    assert result.verdict == Verdict.SUBJECT_WRONG and result.reason.endswith(f"; not with {OTHER_CPU}")
    assert counted(stored.confirmations("case")) == {"confirmed": 1, f"not with {OTHER_CPU}": 1}


def test_a_second_reading_that_disagrees_takes_the_verdict_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "read_again", lambda seen, first: "row 20: OCR gives 'BAO'")
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG))
    assert result.verdict == Verdict.INCONCLUSIVE and "row 20" in result.reason and not result.expected
    assert counted(stored.confirmations("case")) == {"dismissed by second reading of the screen": 1}


def test_a_known_one_is_confirmed_only_when_asked(tmp_path: Path) -> None:
    known = [Known(check="a", verdict=Verdict.SUBJECT_WRONG, reason="r", match={"x": "0x2"})]
    for which, boots in ((Confirm.NEW, 1), (Confirm.ALL, 3), (Confirm.NONE, 1)):
        folder = tmp_path / which
        folder.mkdir()
        result, stored = executed(folder, lambda boot, number: said(WRONG), which=which, known=known)
        assert result.expected
        assert len(stored.every_boot("case")["kvm"]) == boots


def test_an_emulator_that_breaks_while_confirming_takes_nothing_away(tmp_path: Path) -> None:
    def script(boot: Boot, number: int) -> Observation:
        if number:
            raise EmulatorError("no room")
        return said(WRONG)

    result, stored = executed(tmp_path, script)
    assert result.verdict == Verdict.SUBJECT_WRONG and not result.boots
    assert counted(stored.confirmations("case")) == {"neither confirmed nor dismissed": 1}


def test_what_agrees_is_not_looked_at_again(tmp_path: Path) -> None:
    result, stored = executed(tmp_path, lambda boot, number: said(RIGHT))
    assert result.verdict == Verdict.AGREE
    assert stored.confirmations("case") == [] and len(stored.every_boot("case")["kvm"]) == 1
