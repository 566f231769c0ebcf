"""Stored runs held against each other."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from difftest.case.manifest import HOST_KERNEL
from difftest.cli import app
from difftest.commands.options import command_of
from difftest.history.compare import Change, change, compare
from difftest.judging.result import Field, Result
from difftest.report.matrix import show
from difftest.run.store import RunWriter, StoredRun
from difftest.verdict import Verdict
from emulators.registry import Versions
from tests import sample_run as sample


def run(root: Path, name: str, kernel: str, results: list[Result], **identity: str) -> StoredRun:
    """A stored run of these results with this kernel package."""
    subject = {"kernel": f"{kernel}-cloud-amd64", "kernel package": f"linux-image-{kernel}-cloud-amd64 {kernel}-1"}
    identities = {"bochs": {"bochs": identity.pop("reference", "2.7+dfsg-4")}, "kvm-hosted": {**subject, **identity}}
    writer = RunWriter.create(root, msgspec.structs.replace(sample.meta(name), identities=identities))
    image = root / "disk.img"
    image.write_bytes(sample.IMAGE)
    writer.add_case(sample.snapshot("c"), image)
    writer.add_results("c", [msgspec.structs.replace(result, subject="kvm-hosted") for result in results])
    writer.finish("finished")
    return StoredRun.open(root / name)


def one(verdict: Verdict, value: str = "0x1") -> Result:
    return sample.result(verdict, fields=[Field(name="exit_reason", reference="0x1", subject=value)])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (one(Verdict.AGREE), one(Verdict.AGREE), Change.SAME),
        (one(Verdict.AGREE), one(Verdict.SUBJECT_WRONG), Change.NEW),
        (one(Verdict.SUBJECT_WRONG), one(Verdict.AGREE), Change.FIXED),
        (one(Verdict.SUBJECT_WRONG, "0x2"), one(Verdict.SUBJECT_WRONG, "0x2"), Change.SAME),
        (one(Verdict.SUBJECT_WRONG, "0x2"), one(Verdict.SUBJECT_WRONG, "0x3"), Change.CHANGED),
        (one(Verdict.AGREE, "0x2"), one(Verdict.AGREE, "0x3"), Change.CHANGED),
        (one(Verdict.SUBJECT_WRONG), one(Verdict.BOTH_WRONG), Change.CHANGED),
        (one(Verdict.AGREE), one(Verdict.INCONCLUSIVE), Change.UNKNOWN),
        (one(Verdict.INCONCLUSIVE), one(Verdict.INCONCLUSIVE), Change.UNKNOWN),
        (None, one(Verdict.AGREE), Change.UNKNOWN),
        (one(Verdict.SKIPPED), one(Verdict.SKIPPED), Change.SAME),
        (one(Verdict.SKIPPED), one(Verdict.AGREE), Change.UNKNOWN),
        (Verdict.AGREE, one(Verdict.SUBJECT_WRONG), Change.NEW),
    ],
)
def test_what_a_change_is_called(before: Result | Verdict | None, after: Result | None, expected: Change) -> None:
    assert change(before, after) is expected


def test_checks_by_versions(tmp_path: Path) -> None:
    fault = sample.result(Verdict.SUBJECT_WRONG, check=HOST_KERNEL)
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "5.10.1", [one(Verdict.SUBJECT_WRONG, "0x2")]),
        run(tmp_path, "20260102-000000-aaaa", "6.1.2", [one(Verdict.AGREE)]),
        run(tmp_path, "20260103-000000-aaaa", "7.3.4", [one(Verdict.AGREE), fault]),
    ]
    found = compare(runs)
    assert found.versions == ["Linux 5.10.1", "Linux 6.1.2", "Linux 7.3.4"]
    check, log = found.rows
    assert check.cells == ["KVM wrong", "agree", "agree"] and check.changes == [Change.FIXED, Change.SAME]
    assert log.cells == ["-", "-", "KVM wrong"] and log.changes == [Change.SAME, Change.NEW], (
        "no fault was no news before"
    )
    out = io.StringIO()
    show(found, out, width=120)
    assert "fixed in Linux 6.1.2" in out.getvalue() and "new in Linux 7.3.4" in out.getvalue()


def test_headings_say_what_differs_and_only_that(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="3.0+dfsg-1"),
        run(tmp_path, "20260102-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="2.7+dfsg-4+deb12u1"),
    ]
    assert compare(runs).versions == ["Bochs 3.0", "Bochs 2.7"]
    again = run(tmp_path, "20260103-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="3.0+dfsg-1")
    assert compare([runs[0], again]).versions == ["run 20260101-000000-aaaa", "run 20260103-000000-aaaa"]


def test_runs_of_other_bytes_and_broken_runs_are_told(tmp_path: Path) -> None:
    first = run(tmp_path, "20260101-000000-aaaa", "6.1.2", [one(Verdict.AGREE)])
    second = run(tmp_path, "20260102-000000-aaaa", "6.1.3", [one(Verdict.AGREE)])
    path = second.folder / "cases/c/case.json"
    path.write_text(path.read_text().replace(sample.SHA256, "0" * 64))
    (second.folder / "run.json").write_text((second.folder / "run.json").read_text().replace("finished", "interrupted"))
    notes = compare([first, StoredRun.open(second.folder)]).notes
    assert notes == ["c: the runs did not boot the same bytes", "20260102-000000-aaaa: interrupted"]


def test_the_command_and_its_exit_codes(tmp_path: Path) -> None:
    run(tmp_path, "20260101-000000-aaaa", "5.10.1", [one(Verdict.SUBJECT_WRONG, "0x2")])
    run(tmp_path, "20260102-000000-aaaa", "6.1.2", [one(Verdict.AGREE)])
    run(tmp_path, "20260103-000000-aaaa", "6.1.3", [one(Verdict.INCONCLUSIVE)])

    def called(*numbers: int, more: tuple[str, ...] = ()) -> tuple[int, str]:
        names = [f"2026010{number}-000000-aaaa" for number in numbers]
        done = CliRunner().invoke(app, ["compare", *names, "--results", str(tmp_path), *more])
        return done.exit_code, done.output

    assert called(1, 2)[0] == 0
    assert called(2, 1)[0] == 1
    assert called(2, 3)[0] == 3
    _, output = called(1, 2, more=("--json",))
    assert json.loads(output)["rows"][0]["changes"] == ["fixed"]


def test_each_of_several_runs_says_how_it_is_made_alone() -> None:
    words = ["run", "c", "--kernel", "6.1", "-k", "x", "--kernel=7.3", "--bochs", "3.0", "-j", "1"]
    alone = ["difftest", "run", "c", "-k", "x", "-j", "1"]
    assert command_of(words, Versions(kernel="7.3", bochs="3.0")) == [*alone, "--kernel", "7.3", "--bochs", "3.0"]
    assert command_of(words, Versions()) == alone
