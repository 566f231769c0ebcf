"""Stored runs compared."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from difftest.case.manifest import EMULATOR, HOST_KERNEL, IMAGE
from difftest.cli import app
from difftest.commands.options import command_of
from difftest.history.compare import Change, change, compare
from difftest.judging.result import Field, Result
from difftest.report.matrix import show
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Verdict
from tests import sample_run as sample


def run(root: Path, name: str, kernel: str, results: list[Result], **identity: str) -> StoredRun:
    """A stored run of these results with this kernel package."""
    subject = {
        "kernel": f"{kernel}-cloud-amd64",
        "kernel package": f"linux-image-{kernel}-cloud-amd64 {kernel}-1",
        "hosting bochs": "3.0+dfsg-1",
    }
    identities = {"bochs": {"bochs": identity.pop("reference", "2.7+dfsg-4")}, "kvm-hosted": {**subject, **identity}}
    writer = RunWriter.create(root, msgspec.structs.replace(sample.meta(name), identities=identities))
    image = root / "disk.img"
    image.write_bytes(sample.IMAGE)
    writer.add_case(sample.snapshot("c"), image)
    writer.add_results("c", results)
    writer.finish("finished")
    return StoredRun.open(root / name)


STATUSES = {
    Verdict.AGREE: "PASS PASS",
    Verdict.SUBJECT_WRONG: "PASS FAIL",
    Verdict.REFERENCE_WRONG: "FAIL PASS",
    Verdict.BOTH_WRONG: "FAIL FAIL",
    Verdict.SHARED: "PASS FAIL FAIL",
    Verdict.BY_HOST: "PASS PASS FAIL",
    Verdict.DIFFER: "OPEN OPEN",
    Verdict.FLAKY: "PASS PASS",
    Verdict.SKIPPED: "SKIP SKIP",
    Verdict.INCONCLUSIVE: "PASS -",
}


def one(verdict: Verdict, value: str = "0x1", statuses: str = "", **other: Any) -> Result:
    """A result whose reference gave 0x1 and whose subject gave this value."""
    fields = [Field(name="exit_reason", values={"bochs": "0x1", "kvm-hosted": value}, differs=value != "0x1")]
    statuses = statuses or STATUSES[verdict]
    return sample.result(verdict, statuses=statuses, subject=sample.SUBJECT, fields=fields, **other)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (one(Verdict.BOTH_WRONG), one(Verdict.REFERENCE_WRONG), Change.FIXED),
        (one(Verdict.REFERENCE_WRONG), one(Verdict.BOTH_WRONG), Change.NEW),
        (one(Verdict.BOTH_WRONG), one(Verdict.SUBJECT_WRONG), Change.FIXED),
        (one(Verdict.SUBJECT_WRONG), one(Verdict.REFERENCE_WRONG), Change.NEW),
        (one(Verdict.SHARED), one(Verdict.AGREE), Change.FIXED),
        (one(Verdict.SHARED, statuses="FAIL FAIL FAIL"), one(Verdict.REFERENCE_WRONG), Change.FIXED),
        (one(Verdict.SHARED), one(Verdict.SUBJECT_WRONG), Change.CHANGED),
        (one(Verdict.SHARED, "0x2"), one(Verdict.SHARED, "0x2"), Change.SAME),
        (one(Verdict.SUBJECT_WRONG, "0x2"), one(Verdict.SUBJECT_WRONG, "0x2", "SKIP FAIL"), Change.SAME),
        (one(Verdict.SUBJECT_WRONG, "0x2", "SKIP FAIL"), one(Verdict.BOTH_WRONG, "0x2"), Change.CHANGED),
        (one(Verdict.SUBJECT_WRONG, statuses="PASS DIED"), one(Verdict.AGREE), Change.FIXED),
        (one(Verdict.SUBJECT_WRONG, statuses="PASS DIED"), one(Verdict.SUBJECT_WRONG, "0x2"), Change.CHANGED),
        (one(Verdict.AGREE), one(Verdict.DIFFER, "0x2", "PASS PASS"), Change.NEW),
        (one(Verdict.DIFFER, "0x2", "PASS PASS"), one(Verdict.AGREE), Change.FIXED),
        (one(Verdict.AGREE), one(Verdict.FLAKY), Change.NEW),
        (one(Verdict.AGREE, statuses="OPEN OPEN"), one(Verdict.DIFFER, "0x2"), Change.NEW),
        (one(Verdict.DIFFER, "0x2"), one(Verdict.AGREE, statuses="OPEN OPEN"), Change.FIXED),
        (one(Verdict.DIFFER, "0x2"), one(Verdict.DIFFER, "0x3"), Change.CHANGED),
        (one(Verdict.DIFFER, "0x2"), one(Verdict.DIFFER, "0x2"), Change.SAME),
        (one(Verdict.SKIPPED, statuses="SKIP PASS"), one(Verdict.SUBJECT_WRONG), Change.UNKNOWN),
        (one(Verdict.AGREE), one(Verdict.AGREE), Change.SAME),
        (one(Verdict.AGREE), one(Verdict.SUBJECT_WRONG), Change.NEW),
        (one(Verdict.SUBJECT_WRONG), one(Verdict.AGREE), Change.FIXED),
        (one(Verdict.SUBJECT_WRONG, "0x2"), one(Verdict.SUBJECT_WRONG, "0x2"), Change.SAME),
        (one(Verdict.SUBJECT_WRONG, "0x2"), one(Verdict.SUBJECT_WRONG, "0x3"), Change.CHANGED),
        (one(Verdict.AGREE, "0x2"), one(Verdict.AGREE, "0x3"), Change.CHANGED),
        (one(Verdict.SUBJECT_WRONG), one(Verdict.BOTH_WRONG), Change.NEW),
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
    fault = sample.result(Verdict.SUBJECT_WRONG, statuses="- -", subject=sample.SUBJECT, check=HOST_KERNEL)
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


def test_twelve_versions_have_a_line_for_each_kind_of_change(tmp_path: Path) -> None:
    """Which versions did not run a check shows in the table."""
    verdicts = [Verdict.AGREE, Verdict.SUBJECT_WRONG] * 6
    runs = [
        run(tmp_path, f"202601{number:02}-000000-aaaa", f"6.{number}.1", [] if number > 10 else [one(verdict)])
        for number, verdict in enumerate(verdicts, 1)
    ]
    out = io.StringIO()
    show(compare(runs), out, width=120)
    lines = out.getvalue().splitlines()
    (row,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["c", "k"]]
    assert "new in B, D, F, H, J" in lines[row] and "fixed in C, E, G, I" in lines[row + 1]
    assert "unknown in" not in out.getvalue()


@pytest.mark.parametrize(
    ("check", "before", "expected"),
    [
        (IMAGE, [one(Verdict.SUBJECT_WRONG)], Change.UNKNOWN),
        (IMAGE, [one(Verdict.AGREE)], Change.NEW),
        (IMAGE, [one(Verdict.AGREE), one(Verdict.SKIPPED, check="other")], Change.UNKNOWN),
        (HOST_KERNEL, [one(Verdict.SUBJECT_WRONG)], Change.NEW),
        (HOST_KERNEL, [one(Verdict.AGREE), one(Verdict.INCONCLUSIVE, check="other")], Change.UNKNOWN),
        (EMULATOR, [one(Verdict.AGREE)], Change.NEW),
        ("other", [one(Verdict.AGREE)], Change.UNKNOWN),
    ],
)
def test_what_was_not_judged_is_no_agreement(
    tmp_path: Path, check: str, before: list[Result], expected: Change
) -> None:
    """The image as a whole is judged where all checks agree; no fault in the log is no news where the log is read."""
    found = one(Verdict.SUBJECT_WRONG, check=check)
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "6.1.2", before),
        run(tmp_path, "20260102-000000-aaaa", "6.1.3", [*before, found]),
    ]
    row = next(row for row in compare(runs).rows if row.check == check)
    assert row.changes == [expected]
    back = next(row for row in compare(runs[::-1]).rows if row.check == check)
    assert back.changes == [{Change.NEW: Change.FIXED}.get(expected, expected)]


def test_no_fault_in_a_log_that_nobody_reads_is_no_agreement(tmp_path: Path) -> None:
    fault = one(Verdict.SUBJECT_WRONG, check=HOST_KERNEL)
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "6.1.2", [one(Verdict.AGREE), fault]),
        run(tmp_path, "20260102-000000-aaaa", "6.1.3", [one(Verdict.AGREE)]),
    ]
    meta = runs[1].meta
    named = {name: one for name, one in meta.identities["kvm-hosted"].items() if name != "hosting bochs"}
    native = msgspec.structs.replace(meta, identities={**meta.identities, "kvm-hosted": named})
    found = compare([runs[0], StoredRun(runs[1].folder, native)])
    assert [row.changes for row in found.rows if row.check == HOST_KERNEL] == [[Change.UNKNOWN]]


PROVES_NOTHING = "a version that passes proves nothing"
DOUBT = "or the check is wrong: every version that was run fails it"


@pytest.mark.parametrize(
    ("results", "hint"),
    [
        ([one(Verdict.SHARED), one(Verdict.AGREE)], PROVES_NOTHING),
        ([one(Verdict.REFERENCE_WRONG), one(Verdict.SHARED, statuses="FAIL FAIL FAIL")], PROVES_NOTHING),
        ([one(Verdict.SHARED), one(Verdict.SHARED)], ""),
        ([one(Verdict.SUBJECT_WRONG), one(Verdict.AGREE)], ""),
        ([one(Verdict.AGREE), one(Verdict.AGREE)], ""),
        ([one(Verdict.BOTH_WRONG), one(Verdict.BOTH_WRONG)], DOUBT),
        ([one(Verdict.SHARED, statuses="FAIL FAIL FAIL"), one(Verdict.BOTH_WRONG)], DOUBT),
        ([one(Verdict.BOTH_WRONG), one(Verdict.SUBJECT_WRONG)], ""),
        ([one(Verdict.BOTH_WRONG)], ""),
    ],
)
def test_what_the_versions_say_together(tmp_path: Path, results: list[Result], hint: str) -> None:
    runs = [
        run(tmp_path, f"2026010{number}-000000-aaaa", f"6.1.{number}", [result])
        for number, result in enumerate(results, 1)
    ]
    if len(runs) == 1:
        runs.append(run(tmp_path, "20260109-000000-aaaa", "6.9.9", []))
    (row,) = compare(runs).rows
    assert row.hint.startswith(hint) and bool(row.hint) == bool(hint)
    out = io.StringIO()
    show(compare(runs), out, width=300)
    assert hint in out.getvalue()


@pytest.mark.parametrize("check", ["P-09/wp", "L2-19/wp", "L2-24/accessed-dirty", "F-09"])
def test_another_kernel_that_passes_does_not_make_a_shared_failure_the_kernel_s(tmp_path: Path, check: str) -> None:
    """The four checks in which some kernels leave to the CPU what others do themselves."""
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "5.10.1", [one(Verdict.AGREE, check=check)]),
        run(tmp_path, "20260102-000000-aaaa", "6.1.2", [one(Verdict.SHARED, "0x2", check=check)]),
    ]
    (row,) = compare(runs).rows
    assert row.cells == ["agree", "shared with the hardware"]
    assert row.changes == [Change.NEW] and row.hint.startswith(PROVES_NOTHING)


def test_headings_say_what_differs_and_only_that(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "20260101-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="3.0+dfsg-1"),
        run(tmp_path, "20260102-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="2.7+dfsg-4+deb12u1"),
    ]
    assert compare(runs).versions == ["Bochs 3.0", "Bochs 2.7"]
    again = run(tmp_path, "20260103-000000-aaaa", "6.1.2", [one(Verdict.AGREE)], reference="3.0+dfsg-1")
    assert compare([runs[0], again]).versions == ["run 20260101-000000-aaaa", "run 20260103-000000-aaaa"]


def test_headings_tell_the_reference_from_the_host_of_kvm(tmp_path: Path) -> None:
    models = [("tigerlake", "broadwell_ult"), ("broadwell_ult", "broadwell_ult")]
    runs = []
    for number, (reference, hosting) in enumerate(models):
        model = {"bochs": {"cpu model": reference}, "kvm-hosted": {"hosting cpu model": hosting}}
        writer = RunWriter.create(tmp_path, msgspec.structs.replace(sample.meta(f"run{number}"), identities=model))
        writer.finish("finished")
        runs.append(StoredRun.open(tmp_path / f"run{number}"))
    assert compare(runs).versions == ["reference tigerlake", "reference broadwell_ult"]


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
    assert command_of(words, {"kernel": "7.3", "bochs": "3.0"}) == [*alone, "--kernel", "7.3", "--bochs", "3.0"]
    assert command_of(words, {}) == alone
