"""Known and new: writing `[[known]]` entries, and judging a stored run anew with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from difftest.authoring.accept import accept, entry, written
from difftest.case.case import load
from difftest.case.manifest import Known
from difftest.cli import app
from difftest.errors import CaseError, StoreError
from difftest.history.rejudge import changes, rejudge
from difftest.judging.result import Result
from difftest.run.store import StoredRun
from difftest.verdict import ExitCode, Verdict
from tests import sample_run as sample

MANIFEST = """\
# What this case is about stays where it is.
name = "ept-pdpte-load"
image = "x.img"  # and so does this
end = "^Halt: .*"

[cpu_models]
bochs = "corei7_haswell_4770"  # the last table
"""


@pytest.fixture
def case(tmp_path: Path) -> Path:
    folder = tmp_path / "ept-pdpte-load"
    folder.mkdir()
    (folder / "x.img").write_bytes(sample.IMAGE)
    (folder / "case.toml").write_text(MANIFEST)
    return folder


@pytest.fixture
def run(tmp_path: Path, case: Path) -> StoredRun:
    """A run of that case, with one divergence that nobody knows."""
    snapshot = msgspec.structs.replace(sample.snapshot(), manifest=MANIFEST, argument=str(case))
    return sample.write_run(
        tmp_path / "results", manifest=msgspec.structs.replace(sample.MANIFEST, known=[]), case=snapshot
    )


def difftest(run: StoredRun, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--results", str(run.folder.parent)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_accepted_it_is_known_gone_it_is_told(run: StoredRun, case: Path) -> None:
    assert difftest(run, "judge")[0] == ExitCode.DIVERGED, "a new divergence"
    code, said = difftest(
        run, "accept", "not-present", "--reason", "a bug", "--link", "https://bug.example/1", "--kernels", ">=6,<7"
    )
    assert code == 0 and "[[known]]" in said
    text = (case / "case.toml").read_text()
    assert text.startswith(MANIFEST), "what stood there stands there, comments and all"
    (known,) = load(case).manifest.known
    assert known == Known(
        check="not-present",
        verdict=Verdict.SUBJECT_WRONG,
        reason="a bug",
        link="https://bug.example/1",
        targets=["kvm-hosted"],
        kernels=">=6,<7",
    )
    code, said = difftest(run, "judge")
    assert code == ExitCode.EXPECTED and "KVM wrong (unexpected)" in said and "1 of them are others" in said
    assert StoredRun.open(run.folder).results(sample.CASE)[1].known == known, "the verdicts on disk are the new ones"

    (case / "case.toml").write_text(MANIFEST)
    assert difftest(run, "judge", "--dry-run")[0] == ExitCode.DIVERGED, "the entry removed"
    assert StoredRun.open(run.folder).results(sample.CASE)[1].expected, "a dry run keeps what is there"
    (case / "case.toml").write_text(
        text + written(Known(check="mapped", verdict=Verdict.SUBJECT_WRONG, reason="claimed"))
    )
    code, said = difftest(run, "judge")
    assert code == ExitCode.DIVERGED and "a known divergence is gone: claimed" in said, (
        "one claimed that does not happen"
    )
    with pytest.raises(CaseError, match="does not any more"):
        difftest(run, "accept", "mapped", "--reason", "r")


def test_outside_of_its_kernels_a_known_one_is_new(run: StoredRun, case: Path) -> None:
    difftest(run, "accept", "not-present", "--reason", "a bug", "--kernels", "<6")
    assert difftest(run, "judge")[0] == ExitCode.DIVERGED
    difftest(run, "accept", "not-present", "--reason", "still there", "--kernels", ">=6")
    assert difftest(run, "judge")[0] == ExitCode.EXPECTED, "the second entry speaks of this kernel"


def test_of_two_entries_the_one_that_foresaw_the_verdict_counts(run: StoredRun, case: Path) -> None:
    for verdict in (Verdict.DIFFER, Verdict.SUBJECT_WRONG):
        accept(case / "case.toml", Known(check="not-present", verdict=verdict, reason="r"))
    assert difftest(run, "judge")[0] == ExitCode.EXPECTED


@pytest.mark.parametrize(
    ("check", "kernels", "words"),
    [("mapped", "", "no divergence"), ("not-present", "six", "--kernels six"), ("none", "", "no check called")],
)
def test_what_cannot_be_accepted(run: StoredRun, case: Path, check: str, kernels: str, words: str) -> None:
    with pytest.raises((CaseError, StoreError), match=words):
        difftest(run, "accept", check, "--reason", "r", "--kernels", kernels)
    assert (case / "case.toml").read_text() == MANIFEST


def test_accepting_twice_is_told(run: StoredRun) -> None:
    difftest(run, "accept", "not-present", "--reason", "r")
    difftest(run, "judge")
    with pytest.raises(CaseError, match="known already"):
        difftest(run, "accept", "not-present", "--reason", "r")


def test_an_image_without_a_manifest_has_nowhere_to_write_to(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(sample.snapshot(), manifest="", argument=str(tmp_path / "disk.img"))
    run = sample.write_run(tmp_path, manifest=msgspec.structs.replace(sample.MANIFEST, known=[]), case=bare)
    with pytest.raises(CaseError, match="no case folder"):
        difftest(run, "accept", "not-present", "--reason", "r")


def test_entries_written_in_another_way_are_left_alone(case: Path) -> None:
    text = f'known = [{{ check = "mapped", verdict = "differ", reason = "r" }}]\n{MANIFEST}'
    (case / "case.toml").write_text(text)
    with pytest.raises(CaseError, match="cannot be appended"):
        accept(case / "case.toml", Known(check="not-present", verdict=Verdict.DIFFER, reason="r"))
    assert (case / "case.toml").read_text() == text


@given(st.text(max_size=80).filter(str.strip), st.text(max_size=40))
def test_any_reason_makes_a_manifest_that_can_be_read(reason: str, link: str) -> None:
    known = Known(check="not-present", verdict=Verdict.SUBJECT_WRONG, reason=reason, link=link, targets=["kvm"])
    read = msgspec.toml.decode(MANIFEST + written(known))["known"]
    assert len(read) == 1 and read[0]["check"] == "not-present"


def test_a_flaky_or_undecided_result_is_not_accepted_as_more_than_it_is() -> None:
    def of(result: Result) -> Known:
        return entry(result, reason="r", link="", kernels="", bochs="", every_target=True)

    assert of(sample.result(Verdict.FLAKY, expected=False)).verdict == Verdict.FLAKY
    assert of(sample.result(Verdict.FLAKY, expected=False)).targets == []
    with pytest.raises(CaseError):
        of(sample.result(Verdict.INCONCLUSIVE, expected=False))


def test_judging_anew_gives_what_was_judged(run: StoredRun) -> None:
    (case,) = run.cases()
    manifest = msgspec.structs.replace(sample.MANIFEST, known=[])
    assert rejudge(run, case, manifest) == run.results(sample.CASE)
    assert changes(run.results(sample.CASE), rejudge(run, case, manifest)) == []


def test_a_rule_that_changed_changes_the_verdicts(run: StoredRun) -> None:
    (case,) = run.cases()
    stricter = msgspec.structs.replace(sample.MANIFEST, known=[], end="^Halt: .* never")
    changed = changes(run.results(sample.CASE), rejudge(run, case, stricter))
    assert changed == [], "how the boot ended is observed, not judged"
    broken = run.folder / "cases" / sample.CASE / "kvm-hosted" / "0" / "serial.bin"
    broken.write_bytes(sample.BAD.serial.replace(b"end checks=2", b"end checks=3"))
    lines = [change.words for change in changes(run.results(sample.CASE), rejudge(run, case, stricter))]
    assert len(lines) == 2 and all("-> inconclusive (unexpected)" in line for line in lines)


def test_what_was_refused_stays_as_it_was(tmp_path: Path, run: StoredRun) -> None:
    (case,) = run.cases()
    skipped = sample.result(
        Verdict.SKIPPED, case=sample.CASE, subject="tcg", subject_name="TCG", reason="tcg has no vmx"
    )
    skipped = msgspec.structs.replace(skipped, reference_status="-", subject_status="-")
    writer_results = [*run.results(sample.CASE), skipped]
    from difftest.run.store import RunWriter

    RunWriter(run.folder, run.meta).add_results(sample.CASE, writer_results)
    assert rejudge(run, case, msgspec.structs.replace(sample.MANIFEST, known=[])) == writer_results
