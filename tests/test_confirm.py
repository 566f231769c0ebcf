"""Looking at a divergence again: fake targets that keep to what they said, and such that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from difftest.case.case import Case
from difftest.case.manifest import HOST_KERNEL, About, KnownDivergence, Manifest
from difftest.history.rejudge import rejudge
from difftest.image.prepare import PreparedCase
from difftest.judging.confirmation import (
    OTHER_HOST,
    RERUN,
    SCREEN,
    Confirmation,
    ConfirmScope,
    Stage,
    StageOutcome,
    confirmed,
    counted,
    doubted,
    stage_of,
)
from difftest.judging.result import Field, Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.run import boots as boots_module
from difftest.run import confirm
from difftest.run.execute import execute
from difftest.run.metadata import CaseSnapshot, HostCpuTarget, Meta
from difftest.run.plan import Job, Plan
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter, now
from difftest.verdict import Verdict
from emulators.fake import Fake, observation
from emulators.host.errors import EmulatorError
from emulators.observation import Boot, Ending, Limits, Observation
from emulators.target import OTHER_CPU
from tests import sample_run as sample

RIGHT = b"difftest 1 start a\ndifftest 1 check a PASS x=0x1 must.x=0x1\ndifftest 1 end checks=1\n"
WRONG = b"difftest 1 start a\ndifftest 1 check a FAIL x=0x2 must.x=0x1\ndifftest 1 end checks=1\n"
SHOWN = ScreenReading(rows={20: RowReading(memory="BAD", ocr="BAD", agree=True)}, text=[""] * 25)
Script = Callable[[Boot, int], Observation]


@pytest.fixture(autouse=True)
def screens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots_module, "read_screen", lambda seen, afresh: SHOWN)
    monkeypatch.setattr(confirm, "read_again", lambda seen, first: "")


def said(serial: bytes, ending: Ending = Ending.FINISHED) -> Observation:
    return observation("kvm", serial, ending)


def executed(
    folder: Path,
    script: Script,
    *,
    which: ConfirmScope = ConfirmScope.NEW,
    known: list[KnownDivergence] | None = None,
    thorough: Fake | None = None,
    reference: bytes = RIGHT,
    under: Fake | None = None,
    elsewhere: Fake | None = None,
) -> tuple[Result, StoredRun]:
    """Run one case with one check; `script` is the subject, told the number of its boot. `under` is the CPU under the
    subject, `elsewhere` the subject on another one.
    """
    boots = iter(range(100))
    bochs = Fake("bochs", lambda boot: observation("bochs", reference), implementation="Bochs")
    subject = Fake(
        "kvm",
        lambda boot: script(boot, next(boots)),
        implementation="KVM",
        thorough=thorough,
        host_cpu=under,
        other_host=elsewhere,
    )
    image = folder / "x.img"
    image.write_bytes(bytes(512))
    case = Case(manifest=Manifest(name="case", image="x.img", known=known or []), folder=folder)
    abouts = (About(check="a"),)
    prepared = PreparedCase(case=case, image=image, sha256="0" * 64, abouts=abouts, limits=Limits())
    job = Job(prepared=prepared, subjects=("kvm",))
    meta = Meta(
        run="r",
        tool_version="0",
        command=[],
        started=now(),
        reference="bochs",
        targets={},
        identities={"host-cpu": under.identity()} if under else {},
        hosts={"kvm": HostCpuTarget(target="host-cpu")} if under else {},
    )
    writer = RunWriter.create(folder / "results", meta)
    snapshot = CaseSnapshot(name="case", image_sha256="0" * 64, image_bytes=512, argument="case", checks=list(abouts))
    writer.add_case(snapshot, image)
    plan = Plan(jobs=(job,), reference="bochs", confirm=which)
    targets = {"bochs": bochs, "kvm": subject}
    hosts = {"kvm": under} if under else {}
    (result,) = asyncio.run(execute(plan, targets, writer, lambda case, target, line: None, hosts))
    stored = StoredRun.open(writer.folder)
    assert stored.results("case") == [result], "what is returned is what is on disk"
    assert rejudge(stored, stored.cases()[0], case.manifest) == [result], "and what it is judged to be offline"
    return result, stored


def stages(stored: StoredRun) -> dict[str, StageOutcome]:
    return {stage.name: stage.outcome for one in stored.confirmations("case") for stage in one.stages}


def test_one_that_shows_again_is_confirmed(tmp_path: Path) -> None:
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG))
    assert (result.verdict, result.boots, result.expected) == (Verdict.SUBJECT_WRONG, "2/2", False)
    assert set(stages(stored).values()) == {StageOutcome.SAME} and OTHER_CPU in stages(stored)
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
    known = [KnownDivergence(check="a", verdict=Verdict.SUBJECT_WRONG, reason="r", match={"x": "0x2"})]
    for which, boots in ((ConfirmScope.NEW, 1), (ConfirmScope.ALL, 3), (ConfirmScope.NONE, 1)):
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


class Cpu(Fake):
    """A CPU under a subject; `program` is what tells it apart from others."""

    def __init__(self, serial: bytes, program: str = "host-cpu") -> None:
        self.program = program
        super().__init__("host-cpu", lambda boot: self.said(serial), implementation="Bochs")

    def said(self, serial: bytes) -> Observation:
        return observation("host-cpu", serial, identity=self.identity())

    def identity(self) -> dict[str, str]:
        return {"fake": self.program}


def on_another(kvm: bytes | Exception, cpu: bytes) -> Fake:
    """The subject on another CPU."""

    def script(boot: Boot) -> Observation:
        if isinstance(kvm, Exception):
            raise kvm
        return said(kvm)

    return Fake("kvm", script, implementation="KVM", host_cpu=Cpu(cpu, "another"))


NOT_TRIED = None
ON_ANOTHER = [
    # what KVM and its CPU give there, the stage, and the verdict
    (WRONG, RIGHT, StageOutcome.SAME, Verdict.SUBJECT_WRONG),
    (RIGHT, RIGHT, StageOutcome.DIFFERENT, Verdict.BY_HOST),
    (RIGHT, WRONG, StageOutcome.DIFFERENT, Verdict.BY_HOST),
    (WRONG, WRONG, StageOutcome.UNKNOWN, Verdict.SUBJECT_WRONG),
    (b"nothing\n", RIGHT, StageOutcome.UNKNOWN, Verdict.SUBJECT_WRONG),
    (EmulatorError("no such model"), RIGHT, NOT_TRIED, Verdict.SUBJECT_WRONG),
]


@pytest.mark.parametrize("program", ["host-cpu", "bochs"], ids=["of its own", "the reference"])
@pytest.mark.parametrize(
    ("kvm", "cpu", "outcome", "verdict"),
    ON_ANOTHER,
    ids=["same", "right", "right-cpu-wrong", "shared", "silent", "broken"],
)
def test_a_subject_that_is_blamed_is_looked_at_on_another_cpu(
    tmp_path: Path, kvm: bytes | Exception, cpu: bytes, outcome: StageOutcome | None, verdict: Verdict, program: str
) -> None:
    """Whether the reference is the very CPU under it, or another."""
    under = Cpu(RIGHT, program)
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG), under=under, elsewhere=on_another(kvm, cpu))
    assert stages(stored).get(OTHER_HOST) is outcome
    assert (result.verdict, result.expected) == (verdict, False)
    assert result.wrong == [result.subject]
    if verdict == Verdict.BY_HOST:
        assert "x is 0x2, the SDM requires 0x1; on another CPU under it: agree" in result.reason
    assert result.boots == "2/2", "a boot on another CPU is no evidence of this one"


def test_where_the_reference_is_wrong_too_the_same_is_said_of_the_subject(tmp_path: Path) -> None:
    result, stored = executed(
        tmp_path,
        lambda boot, number: said(WRONG),
        reference=WRONG,
        under=Cpu(RIGHT),
        elsewhere=on_another(RIGHT, RIGHT),
    )
    assert stages(stored)[OTHER_HOST] is StageOutcome.DIFFERENT
    assert result.verdict == Verdict.BY_HOST
    assert [side.target for side in result.wrong] == ["bochs", "kvm"]


def test_what_the_cpu_shares_is_not_looked_at_on_another(tmp_path: Path) -> None:
    elsewhere = on_another(RIGHT, RIGHT)
    result, stored = executed(tmp_path, lambda boot, number: said(WRONG), under=Cpu(WRONG), elsewhere=elsewhere)
    assert result.verdict == Verdict.SHARED and result.boots == "2/2"
    assert OTHER_HOST not in stages(stored) and elsewhere.sessions == 0


def test_another_cpu_is_no_variant_that_narrows_down(tmp_path: Path) -> None:
    result, stored = executed(
        tmp_path, lambda boot, number: said(WRONG), under=Cpu(RIGHT), elsewhere=on_another(RIGHT, RIGHT)
    )
    assert counted(stored.confirmations("case")) == {"confirmed": 1} and "not with" not in result.reason
    (confirmation,) = stored.confirmations("case")
    assert confirmation.dismissed == "" and confirmation.limits == []


FIRST = sample.result(Verdict.SUBJECT_WRONG, statuses="PASS FAIL", reason="first")


@pytest.mark.parametrize(
    ("name", "again", "outcome"),
    [
        (RERUN, sample.result(Verdict.SUBJECT_WRONG, statuses="PASS FAIL"), StageOutcome.SAME),
        (RERUN, sample.result(Verdict.AGREE), StageOutcome.DIFFERENT),
        (RERUN, sample.result(Verdict.BOTH_WRONG, statuses="FAIL FAIL"), StageOutcome.DIFFERENT),
        (RERUN, sample.result(Verdict.INCONCLUSIVE, statuses="PASS -"), StageOutcome.UNKNOWN),
        (RERUN, sample.result(Verdict.SKIPPED, statuses="SKIP SKIP"), StageOutcome.UNKNOWN),
        (RERUN, None, StageOutcome.UNKNOWN),
        (RERUN, sample.result(Verdict.SHARED, statuses="PASS FAIL FAIL"), StageOutcome.DIFFERENT),
        (OTHER_HOST, sample.result(Verdict.SHARED, statuses="PASS FAIL FAIL"), StageOutcome.UNKNOWN),
        (OTHER_HOST, sample.result(Verdict.AGREE), StageOutcome.DIFFERENT),
        (OTHER_CPU, sample.result(Verdict.AGREE), StageOutcome.DIFFERENT),
    ],
)
def test_what_a_second_look_gave(name: str, again: Result | None, outcome: StageOutcome) -> None:
    assert stage_of(name, FIRST, again).outcome is outcome


def test_other_values_are_told() -> None:
    first, again = (
        msgspec.structs.replace(FIRST, fields=[Field(name="x", values={"bochs": "0x1", "kvm": value})])
        for value in ("0x2", "0x3")
    )
    assert stage_of(RERUN, first, again).detail.startswith("with other values: ")
    assert not stage_of(RERUN, first, first).detail.startswith("with other values: ")
    free = msgspec.structs.replace(again, fields=[Field(name="x", values={"kvm": "0x9"}, compared=False)])
    assert not stage_of(RERUN, msgspec.structs.replace(first, fields=[]), free).detail.startswith("with other values")


def stages_of(**outcomes: StageOutcome) -> Confirmation:
    names = {"screen": SCREEN, "rerun": RERUN, "host": OTHER_HOST, "cpu": OTHER_CPU}
    stages = [Stage(name=names[name], outcome=outcome, detail="why") for name, outcome in outcomes.items()]
    return Confirmation(check="k", subject="kvm", stages=stages)


SAME, DIFFERENT, UNKNOWN = StageOutcome.SAME, StageOutcome.DIFFERENT, StageOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("confirmation", "verdict", "reason"),
    [
        (stages_of(screen=SAME, rerun=SAME), Verdict.SUBJECT_WRONG, "first"),
        (stages_of(screen=DIFFERENT), Verdict.INCONCLUSIVE, "dismissed by a second reading of the screen: why"),
        (stages_of(screen=DIFFERENT, host=DIFFERENT), Verdict.INCONCLUSIVE, "dismissed by a second reading"),
        (stages_of(screen=UNKNOWN, host=DIFFERENT), Verdict.BY_HOST, "first; on another CPU under it: why"),
        (stages_of(host=UNKNOWN), Verdict.SUBJECT_WRONG, "first"),
        (stages_of(cpu=DIFFERENT), Verdict.SUBJECT_WRONG, f"first; not with {OTHER_CPU}"),
        (stages_of(cpu=UNKNOWN), Verdict.SUBJECT_WRONG, "first"),
    ],
)
def test_what_the_stages_do_to_a_verdict(confirmation: Confirmation, verdict: Verdict, reason: str) -> None:
    (result,) = confirmed([FIRST], [confirmation])
    assert result.verdict == verdict and result.reason.startswith(reason)
    assert result.expected is (verdict == Verdict.SUBJECT_WRONG)
    other = msgspec.structs.replace(confirmation, check="another")
    assert confirmed([FIRST], [other]) == [FIRST], "it is of another check"
    agreed = sample.result(Verdict.AGREE)
    assert confirmed([agreed], [confirmation]) == [agreed], "nothing is left to confirm"


@pytest.mark.parametrize("verdict", [Verdict.SHARED, Verdict.DIFFER, Verdict.REFERENCE_WRONG])
def test_what_blames_no_subject_does_not_differ_by_host(verdict: Verdict) -> None:
    result = sample.result(verdict, statuses="FAIL PASS", reason="first")
    assert confirmed([result], [stages_of(host=DIFFERENT)])[0].verdict == verdict


@pytest.mark.parametrize(
    ("which", "expected", "doubts"),
    [
        (ConfirmScope.NEW, False, 1),
        (ConfirmScope.NEW, True, 0),
        (ConfirmScope.ALL, True, 1),
        (ConfirmScope.NONE, False, 0),
    ],
)
def test_what_is_looked_at_again(which: ConfirmScope, expected: bool, doubts: int) -> None:
    result = msgspec.structs.replace(FIRST, expected=expected)
    log = msgspec.structs.replace(result, check=HOST_KERNEL)
    others = [sample.result(verdict) for verdict in (Verdict.AGREE, Verdict.INCONCLUSIVE, Verdict.SKIPPED)]
    unexpected = [msgspec.structs.replace(one, expected=False) for one in others]
    assert doubted([result, log, *others, *unexpected], which) == [result] * doubts


def test_how_often_it_was_confirmed_and_dismissed() -> None:
    confirmations = [
        stages_of(screen=SAME, rerun=SAME, cpu=DIFFERENT),
        stages_of(rerun=SAME, host=DIFFERENT),
        stages_of(screen=DIFFERENT, rerun=SAME),
        stages_of(screen=SAME, rerun=DIFFERENT),
        stages_of(screen=SAME, rerun=UNKNOWN, host=SAME),
        stages_of(),
    ]
    assert counted(confirmations) == {
        "confirmed": 2,
        f"dismissed by {SCREEN}": 1,
        f"dismissed by {RERUN}": 1,
        "neither confirmed nor dismissed": 2,
        f"not with {OTHER_CPU}": 1,
    }


def test_of_an_image_s_own_tests_a_few_are_confirmed() -> None:
    """One of each verdict and reason, three at most: one boot looks at all of them again."""
    one = msgspec.structs.replace(sample.result(Verdict.SUBJECT_WRONG), expected=False)
    of_sdm = [msgspec.structs.replace(one, check=f"t{number}", reason=f"{number % 5}") for number in range(50)]
    own = [msgspec.structs.replace(result, own=True) for result in of_sdm]
    assert [result.check for result in doubted(own, ConfirmScope.NEW)] == ["t0", "t1", "t2"]
    assert len(doubted(of_sdm, ConfirmScope.NEW)) == 50
