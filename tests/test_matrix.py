"""What is said of KVM does not depend on the version of the reference: how that is told of stored runs, and all bundled
cases on every kernel with every reference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.case.manifest import EMULATOR, HOST_KERNEL
from difftest.judging.result import Result
from difftest.verdict import Verdict
from tests import sample_run as sample
from tests.matrix import KERNELS, LACKING, REFERENCES, disagreements, main, said, statements, stored


def one(verdict: Verdict, statuses: str = "PASS PASS PASS", check: str = "k") -> Result:
    return sample.result(verdict, statuses=statuses, check=check)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (one(Verdict.AGREE), "right"),
        (one(Verdict.REFERENCE_WRONG, "FAIL PASS PASS"), "right"),
        (one(Verdict.SUBJECT_WRONG, "PASS PASS FAIL"), "wrong"),
        (one(Verdict.BOTH_WRONG, "FAIL PASS FAIL"), "wrong"),
        (one(Verdict.SHARED, "PASS FAIL FAIL"), "shared"),
        (one(Verdict.SKIPPED, "SKIP PASS PASS"), LACKING),
        (one(Verdict.SKIPPED, "PASS SKIP SKIP"), "skipped"),
        (one(Verdict.REFERENCE_WRONG, "FAIL SKIP SKIP"), "skipped"),
        (one(Verdict.INCONCLUSIVE, "- PASS PASS"), "no verdict"),
    ],
)
def test_what_a_result_says_of_the_subject(result: Result, words: str) -> None:
    assert said(result) == words


def test_two_references_that_make_us_say_different_things_are_found() -> None:
    right, wrong, lacking = one(Verdict.AGREE), one(Verdict.SUBJECT_WRONG), one(Verdict.SKIPPED, "SKIP PASS PASS")
    nothing = one(Verdict.INCONCLUSIVE)
    for results, found in (((right, right), 0), ((right, wrong), 1), ((wrong, lacking), 0), ((right, nothing), 1)):
        runs = {str(number): statements([result]) for number, result in enumerate(results)}
        assert len(disagreements(runs)) == found
    (words,) = disagreements({"2.7": statements([right]), "3.0": statements([wrong])})
    assert words == "c / k: right with Bochs 2.7, wrong with Bochs 3.0"
    assert disagreements({"2.7": statements([nothing]), "3.0": statements([nothing])}), "it is none either way"
    assert disagreements({"2.7": statements([right]), "3.0": {}}), "a check that one run does not have"


def test_what_is_found_in_a_log_is_a_result_only_where_it_is() -> None:
    warning = one(Verdict.SUBJECT_WRONG, check=HOST_KERNEL)
    assert disagreements({"2.7": statements([warning]), "3.0": {}})
    assert not disagreements({"2.7": statements([one(Verdict.REFERENCE_WRONG, check=EMULATOR)]), "3.0": {}})


@pytest.mark.proof
@pytest.mark.parametrize("kernel", KERNELS)
def test_all_cases_with_every_reference(kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """12 runs in all, some 20 CPU seconds each where snapshots are there."""
    code = main([str(tmp_path), "--kernel", kernel])
    assert all(stored(tmp_path, kernel, bochs) for bochs in REFERENCES)
    assert code == 0, capsys.readouterr().out
