"""The run loop with scripted targets: nothing is lost, whatever a target does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from difftest.case.case import Case
from difftest.case.manifest import About, MachineRule, Manifest
from difftest.errors import DiskError, error_report
from difftest.history.rejudge import rejudge
from difftest.image.parameter_block import LAYOUT, MAGIC, VERSION, params_of
from difftest.image.prepare import PreparedCase
from difftest.judging.result import Result, Role
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.run import boots as boots_module
from difftest.run import execute as execute_module
from difftest.run.boots import MOST_HANGS
from difftest.run.metadata import CaseSnapshot, HostCpuTarget, Meta
from difftest.run.plan import Job, Plan, names_of
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter, new_run_id, now
from difftest.verdict import ExitCode, Verdict
from emulators.fake import Fake, observation
from emulators.host.errors import EmulatorError
from emulators.observation import Boot, Ending, Limits, Observation
from emulators.ram_log import HEADER, RamLog

FINE = b"difftest 1 start a\ndifftest 1 check a PASS x=0x1\ndifftest 1 end checks=1\nHalt: done\n"
PASS = "PASS x=0x1 must.x=0x1"
FAIL = "FAIL x=0x2 must.x=0x1"
LOG = RamLog(address=0x500000, most=0x1000)
Script = Callable[[Boot], Observation]


@pytest.fixture(autouse=True)
def _blank_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}
    monkeypatch.setattr(boots_module, "read_screen", lambda seen, afresh: ScreenReading(rows=rows, text=[""] * 25))


def fine(name: str) -> Script:
    return lambda boot: observation(name, FINE)


def image_with(checks: int) -> bytes:
    """An image with a parameter block, as the kit builds them."""
    selected = bytes([(1 << checks) - 1 & 0xFF, (1 << checks) - 1 >> 8]).ljust(64, b"\0")
    return LAYOUT.pack(MAGIC, VERSION, checks, selected, 1, LOG.address, LOG.most + HEADER.size).ljust(512, b"\0")


def kit(name: str, does: Mapping[str, str | Ending]) -> Script:
    """A target under which an image of the kit does this in each of its checks: the end of its record, or how the boot
    ends in it. With KVM's internal error the guest's memory is gone.
    """

    def script(boot: Boot) -> Observation:
        params = params_of(boot.image.read_bytes())
        ending, lines, reported = Ending.FINISHED, ["difftest 1 case=case0"], 0
        for number, (check, what) in enumerate(does.items()):
            if not params.selected[number // 8] >> number % 8 & 1:
                continue
            lines.append(f"difftest 1 start {check}")
            if isinstance(what, Ending):
                ending = what
                break
            lines.append(f"difftest 1 check {check} {what}")
            reported += 1
        else:
            lines += [f"difftest 1 end checks={reported}", "Halt: done"]
        said = "".join(f"{line}\n" for line in lines).encode()
        lost = params.in_ram and ending == Ending.INTERNAL_ERROR
        where = {"ram_log": b"" if lost else said} if params.in_ram else {"serial": said}
        return observation(
            name,
            where.pop("serial", b""),
            ending,
            image_sha256=boot.image_sha256,
            image_sha256_after=boot.image_sha256,
            **where,
        )

    return script


def execute(
    tmp_path: Path,
    reference: Fake,
    subject: Fake,
    *,
    cases: int = 1,
    repeats: int = 1,
    checks: Sequence[str] = ("a",),
    needs: Sequence[str] = (),
    volatile: Mapping[int, str] = {},
    host: Fake | str | None = None,
    machine: Sequence[MachineRule] = (),
    tests: Mapping[str, int] = {},
) -> tuple[list[Result], StoredRun]:
    """Run cases with an image of these checks; `host` is the CPU under the subject, or why it cannot be had."""
    image = tmp_path / "x.img"
    image.write_bytes(image_with(len(checks)))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    jobs = []
    for number in range(cases):
        varies = [volatile[number]] if number in volatile else []
        manifest = Manifest(
            name=f"case{number}",
            image="x.img",
            end="^Halt",
            needs=list(needs),
            volatile=varies,
            machine=list(machine),
            parameters=bool(tests),
            tests=dict(tests),
        )
        prepared = PreparedCase(
            case=Case(manifest=manifest, folder=tmp_path),
            image=image,
            sha256=digest,
            ram_log=LOG,
            abouts=tuple(About(check=check) for check in checks),
            numbers=tuple(range(len(checks))),
            checks=len(checks),
            limits=Limits(),
        )
        jobs.append(Job(prepared=prepared, subjects=(subject.name,)))
    plan = Plan(jobs=tuple(jobs), reference=reference.name, repeats=repeats)
    targets = {target.name: target for target in (reference, subject)}
    known = {**targets, **({host.name: host} if isinstance(host, Fake) else {})}
    stored_host = (
        HostCpuTarget(missing=host) if isinstance(host, str) else HostCpuTarget(target=host.name if host else "")
    )
    meta = Meta(
        run=new_run_id(),
        tool_version="0",
        command=[],
        started=now(),
        reference=reference.name,
        targets={name: names_of(target) for name, target in known.items()},
        identities={name: target.identity() for name, target in known.items()},
        hosts={subject.name: stored_host} if host else {},
    )
    writer = RunWriter.create(tmp_path / "results", meta)
    for job in jobs:
        name, abouts = job.prepared.case.name, list(job.prepared.abouts)
        snapshot = CaseSnapshot(name=name, image_sha256=digest, image_bytes=512, argument=name, checks=abouts)
        writer.add_case(snapshot, image)
    hosts = {subject.name: host} if host is not None else {}
    results = asyncio.run(execute_module.execute(plan, targets, writer, lambda case, target, line: None, hosts))
    stored = StoredRun.open(tmp_path / "results" / meta.run)
    for job, case in zip(jobs, stored.cases(), strict=True):
        assert rejudge(stored, case, job.prepared.case.manifest) == stored.results(case.name), "offline it is the same"
    return results, stored


def verdicts(results: Sequence[Result]) -> dict[str, Verdict]:
    return {result.check: result.verdict for result in results}


def test_every_case_is_booted_on_both_sides_as_often_as_asked(tmp_path: Path) -> None:
    results, stored = execute(tmp_path, *plain("bochs", "kvm"), cases=3, repeats=2)
    assert [result.verdict for result in results] == [Verdict.AGREE] * 3
    assert {target: len(boots) for target, boots in stored.boots("case1").items()} == {"bochs": 2, "kvm": 2}
    assert [seen.boot.repeat for seen in stored.boots("case1")["kvm"]] == [0, 1]
    assert stored.results("case2") == [results[2]]


def plain(*names: str) -> list[Fake]:
    return [Fake(name, kit(name, {"a": PASS})) for name in names]


def test_a_target_that_cannot_be_used_is_a_result_with_the_reason(tmp_path: Path) -> None:
    def broken(boot: Boot) -> Observation:
        raise EmulatorError("no room", hint="buy a disk")

    results, stored = execute(tmp_path, *plain("bochs"), Fake("kvm", broken), cases=2)
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE] * 2
    assert "no room" in results[0].reason and "buy a disk" in results[0].reason
    assert list(stored.boots("case0")) == ["bochs"], "what the other side gave is kept"
    (refusal,) = stored.refusals("case0")
    assert refusal.target == "kvm" and "no room" in refusal.reason


def test_an_emulator_that_blows_up_loses_no_other_case(tmp_path: Path) -> None:
    calls = 0

    def once(boot: Boot) -> Observation:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError("a bug in a driver")
        return kit("kvm", {"a": PASS})(boot)

    results, _ = execute(tmp_path, *plain("bochs"), Fake("kvm", once), cases=2)
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE, Verdict.AGREE]
    assert "ZeroDivisionError" in results[0].reason


def test_a_disk_that_takes_an_observation_no_more_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once is enough: what could not be kept is no evidence."""
    calls = 0
    real = RunWriter.add_observation

    def once(writer: RunWriter, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise DiskError("cannot write", hint="is the disk full?")
        real(writer, *arguments)

    monkeypatch.setattr(RunWriter, "add_observation", once)
    with pytest.raises(ExceptionGroup) as caught:
        execute(tmp_path, Fake("bochs", fine("bochs")), Fake("kvm", fine("kvm")), cases=2)
    assert error_report(caught.value).code == ExitCode.HOST


def test_a_regular_expression_that_backtracks_for_ever_costs_its_own_case_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulators.host.expression.SECONDS", 0.2)
    said = b"PASS: " + b"a" * 40 + b"b\nHalt: done\n"

    def printing(name: str) -> Fake:
        def script(boot: Boot) -> Observation:
            digest = boot.image_sha256
            return observation(name, said, image_sha256=digest, image_sha256_after=digest)

        return Fake(name, script)

    reference, subject = printing("bochs"), printing("kvm")
    results, _ = execute(tmp_path, reference, subject, cases=2, checks=(), volatile={0: "(a|a)*$"})
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE, Verdict.AGREE]
    assert "the manifest's expression '(a|a)*$' takes more than" in results[0].reason


def test_a_missing_capability_is_a_skip_and_boots_nothing(tmp_path: Path) -> None:
    reference, subject = plain("bochs", "kvm")
    (result,), _ = execute(tmp_path, reference, subject, needs=["sgx"])
    assert result.verdict == Verdict.SKIPPED and "sgx" in result.reason
    assert subject.sessions == 0


def test_an_observation_that_ended_badly_is_kept_and_decides_nothing(tmp_path: Path) -> None:
    (result,), stored = execute(tmp_path, *plain("bochs"), Fake("kvm", kit("kvm", {"a": Ending.CRASH})))
    assert result.verdict == Verdict.INCONCLUSIVE
    assert stored.boots("case0")["kvm"][0].observation.ending == Ending.CRASH


CHECKS = ("first", "middle", "last")
FINE_CHECKS = dict.fromkeys(CHECKS, PASS)


@pytest.mark.parametrize("ending", [Ending.TRIPLE_FAULT, Ending.RESET, Ending.QUIET, Ending.HALTED])
@pytest.mark.parametrize("check", CHECKS)
def test_a_check_that_ends_or_hangs_the_guest_takes_no_other_with_it(
    tmp_path: Path, check: str, ending: Ending
) -> None:
    """Not those that were reported before it, and not those that come after it."""
    subject = Fake("kvm", kit("kvm", {**FINE_CHECKS, check: ending}))
    results, stored = execute(tmp_path, Fake("bochs", kit("bochs", FINE_CHECKS)), subject, checks=CHECKS)
    wanted = {**dict.fromkeys(CHECKS, Verdict.AGREE), check: Verdict.SUBJECT_WRONG}
    assert verdicts(results) == wanted
    assert next(result for result in results if result.check == check).subject.status == "DIED"
    parts = [seen.boot.part for seen in stored.boots("case0")["kvm"]]
    assert parts == ([0] if check == "last" else [0, 1])


def test_not_every_check_may_hang_for_its_whole_time(tmp_path: Path) -> None:
    checks = [f"c{number}" for number in range(MOST_HANGS + 4)]
    subject = Fake("kvm", kit("kvm", dict.fromkeys(checks, Ending.QUIET)))
    reference = Fake("bochs", kit("bochs", dict.fromkeys(checks, PASS)))
    results, stored = execute(tmp_path, reference, subject, checks=checks)
    assert len(stored.boots("case0")["kvm"]) == MOST_HANGS + 1
    assert list(verdicts(results).values()) == [
        *[Verdict.SUBJECT_WRONG] * (MOST_HANGS + 1),
        *[Verdict.INCONCLUSIVE] * (len(checks) - MOST_HANGS - 1),
    ]


def test_checks_that_end_the_guest_are_all_booted_behind(tmp_path: Path) -> None:
    """Each of them takes a boot, but none the time of a silence."""
    checks = [f"c{number}" for number in range(MOST_HANGS + 4)]
    subject = Fake("kvm", kit("kvm", dict.fromkeys(checks, Ending.TRIPLE_FAULT)))
    reference = Fake("bochs", kit("bochs", dict.fromkeys(checks, PASS)))
    results, _ = execute(tmp_path, reference, subject, checks=checks)
    assert set(verdicts(results).values()) == {Verdict.SUBJECT_WRONG}


def test_an_image_whose_memory_is_gone_is_booted_with_its_lines_on_com1(tmp_path: Path) -> None:
    does = {**FINE_CHECKS, "middle": Ending.INTERNAL_ERROR}
    reference = Fake("bochs", kit("bochs", FINE_CHECKS))
    results, stored = execute(tmp_path, reference, Fake("kvm", kit("kvm", does)), checks=CHECKS)
    assert verdicts(results) == {**dict.fromkeys(CHECKS, Verdict.AGREE), "middle": Verdict.SUBJECT_WRONG}
    boots = [seen.observation for seen in stored.boots("case0")["kvm"]]
    assert [bool(one.words) for one in boots] == [False, True, True]
    assert all(not one.ram_log for one in boots), "once it is gone, all that follows is said on COM1"


def suite(name: str, kills: str = "") -> Script:
    """An image with three tests that have lines of their own; one of them may take the emulator along, and the guest's
    memory with it: what is left is what went to COM1.
    """

    def script(boot: Boot) -> Observation:
        selected = params_of(boot.image.read_bytes()).selected[0]
        lines: list[str] = []
        for number, test in enumerate(TESTS):
            if selected >> number & 1:
                lines.append(f"Test suite: {test}")
                if test == kills:
                    said = {"serial": "".join(f"{line}\n" for line in lines if line.startswith("Test")).encode()}
                    return of_boot(name, boot, Ending.INTERNAL_ERROR, said)
                lines.append(f"PASS: line of {test}")
        return of_boot(name, boot, Ending.FINISHED, {"ram_log": "\n".join([*lines, "SUMMARY: 3 tests", ""]).encode()})

    return script


def of_boot(name: str, boot: Boot, ending: Ending, said: Mapping[str, bytes]) -> Observation:
    digest = boot.image_sha256
    return observation(
        name,
        said.get("serial", b""),
        ending,
        image_sha256=digest,
        image_sha256_after=digest,
        ram_log=said.get("ram_log", b""),
    )


TESTS = ("first", "kills", "last")


def test_a_test_that_takes_the_emulator_along_loses_no_line_of_another(tmp_path: Path) -> None:
    reference, subject = Fake("bochs", suite("bochs")), Fake("kvm", suite("kvm", kills="kills"))
    results, stored = execute(
        tmp_path, reference, subject, checks=TESTS, tests={test: number for number, test in enumerate(TESTS)}
    )
    assert verdicts(results) == {
        "first": Verdict.AGREE,
        "kills": Verdict.SUBJECT_WRONG,
        "last": Verdict.AGREE,
        "first/line of first": Verdict.AGREE,
        "last/line of last": Verdict.AGREE,
    }
    assert [seen.observation.ending for seen in stored.boots("case0")["kvm"]] == [
        Ending.INTERNAL_ERROR,
        Ending.FINISHED,
    ], "as few boots as that needs"


def hosted(does: str | Ending, host: str | Ending, reference: str | Ending = PASS) -> tuple[Fake, Fake, Fake]:
    """The reference, a subject, and the CPU under it, of one check."""
    under = Fake("host-cpu", kit("host-cpu", {"a": host}), implementation="Bochs")
    subject = Fake("kvm-hosted", kit("kvm-hosted", {"a": does}), implementation="KVM", host_cpu=under)
    return Fake("bochs", kit("bochs", {"a": reference}), implementation="Bochs"), subject, under


@pytest.mark.parametrize(
    ("does", "host", "reference", "verdict", "booted"),
    [
        (FAIL, PASS, PASS, Verdict.SUBJECT_WRONG, 1),
        (FAIL, FAIL, PASS, Verdict.SHARED, 1),
        (FAIL, FAIL, FAIL, Verdict.SHARED, 1),
        (Ending.TRIPLE_FAULT, PASS, Ending.TRIPLE_FAULT, Verdict.BOTH_WRONG, 1),
        ("OPEN x=0x1", "OPEN x=0x1", "OPEN x=0x2", Verdict.DIFFER, 1),
        (PASS, PASS, PASS, Verdict.AGREE, 0),
        (PASS, PASS, FAIL, Verdict.REFERENCE_WRONG, 0),
        ("SKIP", PASS, PASS, Verdict.SKIPPED, 0),
    ],
)
def test_the_cpu_under_the_subject_is_booted_where_it_has_something_to_say(
    tmp_path: Path, does: str, host: str, reference: str, verdict: Verdict, booted: int
) -> None:
    sides = hosted(does, host, reference)
    (result,), stored = execute(tmp_path, sides[0], sides[1], host=sides[2])
    assert result.verdict == verdict, result.reason
    assert sides[2].sessions == booted
    assert len(stored.boots("case0").get("host-cpu", [])) == booted
    assert (result.host_cpu is not None) == bool(booted)


@pytest.mark.parametrize("second", [Ending.TRIPLE_FAULT, PASS])
def test_checks_that_need_another_cpu_are_booted_on_it(tmp_path: Path, second: str | Ending) -> None:
    """And on the CPU under the subject only where one of them fails."""
    booted: list[str] = []

    def on(target: str, does: Mapping[str, str | Ending]) -> Fake:
        class Models(Fake):
            def on_cpu(self, model: str) -> Fake:
                booted.append(f"{target} on {model}")
                return self

        return Models(target, kit(target, does), implementation="KVM" if target == "kvm" else "Bochs")

    good = {"a": PASS, "b": PASS, "c": PASS}
    machine = [MachineRule(checks=["b", "c"], emulated_cpu="newer")]
    results, stored = execute(
        tmp_path,
        on("bochs", good),
        on("kvm", good | {"b": second}),
        checks=("a", "b", "c"),
        host=on("host-cpu", good),
        machine=machine,
    )
    wrong = Verdict.AGREE if second == PASS else Verdict.SUBJECT_WRONG
    assert verdicts(results) == {"a": Verdict.AGREE, "b": wrong, "c": Verdict.AGREE}
    parts = [list(seen.transcript.records) for seen in stored.boots("case0")["kvm"]]
    assert parts == [["a"], ["b", "c"]] if second == PASS else [["a"], [], ["c"]]
    assert sorted(set(booted)) == ["bochs on newer", *(["host-cpu on newer"] if second != PASS else []), "kvm on newer"]
    hosts = stored.boots("case0").get("host-cpu", [])
    assert [list(seen.transcript.records) for seen in hosts] == ([] if second == PASS else [["b"]]), "b alone"


def test_it_is_booted_once_for_all_repeated_boots(tmp_path: Path) -> None:
    reference, subject, under = hosted(FAIL, FAIL)
    (result,), stored = execute(tmp_path, reference, subject, host=under, repeats=3)
    assert (result.verdict, result.boots) == (Verdict.SHARED, "3/3")
    assert len(stored.boots("case0")["host-cpu"]) == 1


def test_it_is_booted_for_the_cases_that_need_it_alone(tmp_path: Path) -> None:
    reference, _, under = hosted(PASS, PASS)
    boots = iter(range(100))

    def first_wrong(boot: Boot) -> Observation:
        return kit("kvm-hosted", {"a": PASS if next(boots) else FAIL})(boot)

    subject = Fake("kvm-hosted", first_wrong, implementation="KVM", host_cpu=under)
    results, stored = execute(tmp_path, reference, subject, host=under, cases=3)
    assert sorted(result.verdict for result in results) == sorted([Verdict.SUBJECT_WRONG, *[Verdict.AGREE] * 2])
    assert sum("host-cpu" in stored.boots(f"case{number}") for number in range(3)) == 1


@pytest.mark.parametrize(
    ("does", "reference", "verdict"),
    [
        (FAIL, PASS, Verdict.INCONCLUSIVE),
        (FAIL, FAIL, Verdict.INCONCLUSIVE),
        (PASS, PASS, Verdict.AGREE),
        (PASS, FAIL, Verdict.REFERENCE_WRONG),
        ("OPEN x=0x1", "OPEN x=0x2", Verdict.DIFFER),
    ],
)
def test_a_cpu_that_cannot_be_had_acquits_and_blames_nobody(
    tmp_path: Path, does: str, reference: str, verdict: Verdict
) -> None:
    """Where the subject does not fail nobody asks for it."""
    bochs, subject, _ = hosted(does, PASS, reference)
    (result,), _ = execute(tmp_path, bochs, subject, host="the hosting Bochs has no debugger")
    assert result.verdict == verdict, result.reason
    assert ("has no debugger" in result.reason) == (verdict == Verdict.INCONCLUSIVE)
    assert len(result.sides) == 2


def test_a_cpu_that_breaks_when_it_is_booted_is_told(tmp_path: Path) -> None:
    def broken(boot: Boot) -> Observation:
        raise EmulatorError("no display")

    reference, subject, _ = hosted(FAIL, PASS)
    (result,), stored = execute(tmp_path, reference, subject, host=Fake("host-cpu", broken, implementation="Bochs"))
    assert result.verdict == Verdict.INCONCLUSIVE and "no display" in result.reason
    assert [refusal.target for refusal in stored.refusals("case0")] == ["host-cpu"]


class SameCpu(Fake):
    """A CPU under a subject that is the program and model of the reference."""

    def identity(self) -> dict[str, str]:
        return {"fake": "bochs"}


@pytest.mark.parametrize(("reference", "verdict"), [(FAIL, Verdict.SHARED), (PASS, Verdict.SUBJECT_WRONG)])
def test_a_reference_that_is_the_very_cpu_is_not_booted_twice(tmp_path: Path, reference: str, verdict: Verdict) -> None:
    sides = hosted(FAIL, PASS, reference)
    under = SameCpu("host-cpu", kit("host-cpu", {"a": PASS}), implementation="Bochs")
    (result,), _ = execute(tmp_path, sides[0], sides[1], host=under)
    assert result.verdict == verdict
    assert under.sessions == 0
    assert [side.role for side in result.sides] == [Role.REFERENCE, Role.SUBJECT]


def test_checks_behind_one_that_kills_the_cpu_under_the_subject_are_booted_there_too(tmp_path: Path) -> None:
    under = Fake("host-cpu", kit("host-cpu", {**FINE_CHECKS, "first": Ending.TRIPLE_FAULT}), implementation="Bochs")
    does = {**FINE_CHECKS, "first": Ending.TRIPLE_FAULT, "last": FAIL}
    subject = Fake("kvm-hosted", kit("kvm-hosted", does), implementation="KVM", host_cpu=under)
    reference = Fake("bochs", kit("bochs", FINE_CHECKS), implementation="Bochs")
    results, _ = execute(tmp_path, reference, subject, checks=CHECKS, host=under)
    assert verdicts(results) == {"first": Verdict.SHARED, "middle": Verdict.AGREE, "last": Verdict.SUBJECT_WRONG}
