"""Bisecting over kernels: the search by itself, and the command with runs that are made up."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from difftest.case.manifest import HOST_KERNEL, IMAGE
from difftest.cli import app
from difftest.commands.bisect import _split
from difftest.history import bisect
from difftest.history.bisect import CheckState, State, Trial, check_state, git_exit_code, search
from difftest.judging import result as judging
from difftest.run.request import Request
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import ExitCode, Verdict
from emulators.host.apt import Package
from tests import sample_run as sample

KERNELS = [f"6.{number}" for number in range(20)]


def walked(truth: dict[str, CheckState], good: str, bad: str) -> tuple[bisect.Search, int]:
    """The end of a search, and how many kernels it took."""
    tried: dict[str, CheckState] = {}
    while (found := search(KERNELS, good, bad, tried)).next:
        assert found.next not in tried
        tried[found.next] = truth[found.next]
    return found, len(tried)


@given(st.integers(0, 18), st.booleans(), st.sets(st.integers(0, 19)))
def test_the_pair_is_the_one_at_which_it_changed(last_before: int, good_is_older: bool, undecided: set[int]) -> None:
    """Whichever end is the older, and whichever kernels give no verdict."""
    sides = (CheckState.GOOD, CheckState.BAD) if good_is_older else (CheckState.BAD, CheckState.GOOD)
    truth = {kernel: sides[number > last_before] for number, kernel in enumerate(KERNELS)}
    truth |= {KERNELS[number]: CheckState.NOTHING for number in undecided - {0, 19}}
    good, bad = (KERNELS[0], KERNELS[-1]) if good_is_older else (KERNELS[-1], KERNELS[0])
    found, _ = walked(truth, good, bad)
    assert found.trouble == ""
    assert (truth[found.good], truth[found.bad]) == (CheckState.GOOD, CheckState.BAD)
    first, last = sorted((KERNELS.index(found.good), KERNELS.index(found.bad)))
    assert first <= last_before < last
    assert found.between == KERNELS[first + 1 : last] and all(
        truth[kernel] == CheckState.NOTHING for kernel in found.between
    )


def test_few_kernels_are_tried() -> None:
    truth = {kernel: CheckState.GOOD if number < 7 else CheckState.BAD for number, kernel in enumerate(KERNELS)}
    found, taken = walked(truth, KERNELS[0], KERNELS[-1])
    assert (found.good, found.bad) == ("6.6", "6.7") and taken <= 7


@pytest.mark.parametrize("end", [0, 19])
@pytest.mark.parametrize("instead", [CheckState.GOOD, CheckState.BAD, CheckState.NOTHING])
def test_no_pair_is_named_when_an_end_does_not_show_what_was_said(end: int, instead: CheckState) -> None:
    truth = {kernel: CheckState.GOOD if number < 7 else CheckState.BAD for number, kernel in enumerate(KERNELS)}
    if truth[KERNELS[end]] == instead:
        return
    found, taken = walked(truth | {KERNELS[end]: instead}, KERNELS[0], KERNELS[-1])
    assert f"{KERNELS[end]} was said to be" in found.trouble and f"shows {instead}" in found.trouble
    assert taken <= 2


@pytest.mark.parametrize(
    ("verdict", "statuses", "expected"),
    [
        (Verdict.AGREE, "PASS PASS", CheckState.GOOD),
        (Verdict.SUBJECT_WRONG, "PASS FAIL", CheckState.BAD),
        (Verdict.SUBJECT_WRONG, "PASS DIED", CheckState.BAD),
        (Verdict.SUBJECT_WRONG, "SKIP FAIL", CheckState.BAD),
        (Verdict.SUBJECT_WRONG, "SKIP DIED", CheckState.BAD),
        (Verdict.BOTH_WRONG, "FAIL FAIL", CheckState.BAD),
        (Verdict.SHARED, "PASS FAIL FAIL", CheckState.BAD),
        (Verdict.BY_HOST, "PASS PASS FAIL", CheckState.BAD),
        (Verdict.REFERENCE_WRONG, "FAIL PASS", CheckState.GOOD),
        (Verdict.REFERENCE_WRONG, "FAIL SKIP", CheckState.NOTHING),
        (Verdict.AGREE, "OPEN OPEN", CheckState.GOOD),
        (Verdict.DIFFER, "OPEN OPEN", CheckState.BAD),
        (Verdict.DIFFER, "PASS PASS", CheckState.GOOD),
        (Verdict.FLAKY, "PASS PASS", CheckState.NOTHING),
        (Verdict.FLAKY, "PASS FAIL", CheckState.NOTHING),
        (Verdict.SKIPPED, "PASS SKIP", CheckState.NOTHING),
        (Verdict.SKIPPED, "SKIP PASS", CheckState.GOOD),
        (Verdict.SKIPPED, "- -", CheckState.NOTHING),
        (Verdict.INCONCLUSIVE, "- PASS", CheckState.NOTHING),
    ],
)
def test_what_a_result_shows(verdict: Verdict, statuses: str, expected: CheckState) -> None:
    """Of the subject: what the reference shows beside it is another matter."""
    assert check_state([sample.result(verdict, statuses=statuses)], "k")[0] is expected


def test_a_quiet_kernel_log_is_good_where_all_was_judged() -> None:
    assert check_state([sample.result()], HOST_KERNEL)[0] is CheckState.GOOD
    assert check_state([sample.result(Verdict.INCONCLUSIVE)], HOST_KERNEL)[0] is CheckState.NOTHING
    assert check_state([], HOST_KERNEL)[0] is CheckState.NOTHING
    assert check_state([sample.result()], "other")[0] is CheckState.NOTHING


def test_a_state_of_other_bytes_or_other_emulators_is_not_gone_on_with(tmp_path: Path) -> None:
    path = bisect.state_file(tmp_path, "c", "k")
    fresh = State(case="c", check="k", image_sha256="aa", others={"bochs": None})
    tried = {"6.1": Trial(shows=CheckState.GOOD, said="", run="20260101-000000-aaaa")}
    not_had = {"6.2": Trial(shows=CheckState.NOTHING, said="the mirror does not answer", run="")}
    bisect.save(path, msgspec.structs.replace(fresh, tried=tried | not_had))
    assert bisect.load(path, fresh).tried == tried
    assert bisect.load(path, msgspec.structs.replace(fresh, image_sha256="bb")).tried == {}
    assert bisect.load(path, msgspec.structs.replace(fresh, others={"bochs": "3.0"})).tried == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ept-pdpte-load/mapped", ("ept-pdpte-load", "mapped")),
        ("pdpte/P-09/wp", ("pdpte", "P-09/wp")),
        ("ept-pdpte-load", ("ept-pdpte-load", IMAGE)),
    ],
)
def test_case_and_check(name: str, expected: tuple[str, str]) -> None:
    assert _split(name) == expected


def test_case_and_check_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/case.toml").touch()
    (tmp_path / "my.img").touch()
    assert _split(f"{tmp_path}/mine/P-09/wp") == (f"{tmp_path}/mine", "P-09/wp")
    assert _split(f"{tmp_path}/my.img") == (f"{tmp_path}/my.img", IMAGE)


class Kernels:
    """Stands in for the mirror and for booting: which kernels there are, and what each shows."""

    def __init__(self, results: Path, verdicts: dict[str, Verdict], stop_after: int = 99) -> None:
        self.results = results
        self.verdicts = verdicts
        self.stop_after = stop_after
        self.booted: list[str] = []
        self.packages = [Package(name=f"linux-image-{version}", version=version, suite="sid") for version in verdicts]

    def run(self, request: Request) -> tuple[ExitCode, StoredRun | None]:
        version = request.versions["kernel"] or ""
        if len(self.booted) == self.stop_after:
            return ExitCode.INTERRUPTED, None
        self.booted.append(version)
        identities = {"bochs": {}, "kvm-hosted": {"kernel package": f"linux-image-{version} {version}"}}
        name = f"20260101-0000{len(self.booted):02}-{random.randrange(1 << 16):04x}"
        writer = RunWriter.create(self.results, msgspec.structs.replace(sample.meta(name), identities=identities))
        image = self.results / "disk.img"
        image.write_bytes(sample.IMAGE)
        writer.add_case(sample.snapshot(), image)
        verdict = self.verdicts[version]
        statuses = "PASS PASS" if verdict == Verdict.AGREE else "PASS FAIL"
        writer.add_results(sample.CASE, [sample.result(verdict, check="not-present", statuses=statuses)])
        writer.finish("finished")
        return ExitCode.EXPECTED, StoredRun.open(self.results / name)

    def bisect(self, *arguments: str) -> Result:
        with (
            mock.patch("difftest.run.lifecycle.run_cases", self.run),
            mock.patch("emulators.hosted.appliance.kernel.available", lambda mirror: self.packages),
        ):
            argv = ["bisect", f"{sample.CASE}/not-present", *arguments, "--results", str(self.results)]
            return CliRunner().invoke(app, argv)


VERDICTS = {f"6.{number}-1": Verdict.SUBJECT_WRONG if number < 5 else Verdict.AGREE for number in range(9)}


def test_the_command_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    broken_off = Kernels(tmp_path, VERDICTS, stop_after=3)
    assert isinstance(broken_off.bisect("--good", "6.8", "--bad", "6.0").exception, KeyboardInterrupt | SystemExit)
    assert len(broken_off.booted) == 3
    again = Kernels(tmp_path, VERDICTS)
    done = again.bisect("--good", "6.8", "--bad", "6.0")
    assert done.exit_code == 0, done.output
    assert "changed between Linux 6.5-1 (good) and Linux 6.4-1 (bad)" in done.output
    assert not set(again.booted) & set(broken_off.booted), "nothing is booted twice"


def test_the_command_tells_kernels_without_a_verdict(tmp_path: Path) -> None:
    verdicts = VERDICTS | {"6.4-1": Verdict.INCONCLUSIVE, "6.5-1": Verdict.INCONCLUSIVE}
    done = Kernels(tmp_path, verdicts).bisect("--good", "6.8", "--bad", "6.0")
    assert "changed between Linux 6.6-1 (good) and Linux 6.3-1 (bad)" in done.output
    assert "without a verdict: 6.4-1, 6.5-1" in done.output


def test_the_command_names_no_pair_when_an_end_is_not_what_was_said(tmp_path: Path) -> None:
    done = Kernels(tmp_path, VERDICTS).bisect("--good", "6.3", "--bad", "6.0")
    assert done.exit_code == 3
    assert (
        "6.3-1 was said to be good and shows bad: no pair can be named" in done.output
        and "changed between" not in done.output
    )


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([sample.result(Verdict.AGREE, statuses="PASS PASS")], 0),
        ([sample.result(Verdict.REFERENCE_WRONG, statuses="FAIL PASS")], 0),
        ([sample.result(Verdict.REFERENCE_WRONG, statuses="- -")], 0),
        ([sample.result(Verdict.SUBJECT_WRONG, statuses="PASS FAIL", expected=True)], 1),
        ([sample.result(Verdict.SUBJECT_WRONG, statuses="PASS DIED")], 1),
        ([sample.result(Verdict.AGREE), sample.result(Verdict.SUBJECT_WRONG, statuses="PASS FAIL")], 1),
        ([sample.result(Verdict.INCONCLUSIVE), sample.result(Verdict.SUBJECT_WRONG, statuses="PASS FAIL")], 1),
        ([sample.result(Verdict.INCONCLUSIVE), sample.result(Verdict.AGREE)], 125),
        ([sample.result(Verdict.SKIPPED, statuses="PASS SKIP")], 125),
        ([], 125),
    ],
)
def test_what_git_is_given(results: list[judging.Result], code: int) -> None:
    assert git_exit_code(results) == code


@pytest.mark.parametrize("words", [["run", "nothing-of-that-name"], ["run", "--no-such-option"], ["run"]])
def test_an_error_stops_git(words: list[str]) -> None:
    argv = [sys.executable, "-m", "difftest.cli", *words, "--exit-code", "git-bisect"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 128 and "error" in done.stderr.lower()
