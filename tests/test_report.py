"""All reports of one small stored run, and of runs that went otherwise. UPDATE_GOLDEN=1 writes tests/data/report
anew.
"""

from __future__ import annotations

import html
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from difftest.case.manifest import HOST_KERNEL, KnownDivergence
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootRecord
from difftest.report.catalogue import catalogue
from difftest.report.digest import count, digest, headline
from difftest.report.field_values import meaning
from difftest.report.frames import fields_frame, results_frame, timings_frame
from difftest.report.html import html_report
from difftest.report.json import json_report
from difftest.report.terminal import PIPED_WIDTH, show
from difftest.report.words import paragraph, reproduce
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Verdict
from emulators.observation import Ending, KernelFault
from emulators.target import Names
from tests import sample_run as sample
from tests.sample_run import result

GOLDEN = Path(__file__).parent / "data" / "report"


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    return sample.write_run(tmp_path)


def printed(run: StoredRun, width: int | None = None) -> str:
    out = io.StringIO()
    show(run, out, width=width)
    return out.getvalue()


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_terminal_as_it_was(run: StoredRun) -> None:
    golden("terminal.txt", printed(run))


def test_json_as_it_was(run: StoredRun) -> None:
    golden("report.json", json_report(run).decode())


def test_terminal_says_what_matters(run: StoredRun) -> None:
    text = printed(run, 200)
    assert "bochs : host-cpu : kvm-hosted   PASS : PASS : FAIL" in text
    assert "Bochs under KVM" in text and "Bochs (host-cpu)" in text
    assert "KVM wrong in 1 of 2 checks" in text
    assert "1 agree, 1 divergence (1 known)" in text
    assert "0x30 (48, EPT violation)" in text
    assert "0xd (13, #GP)" in text
    assert "difftest run ept-pdpte-load -k not-present --target kvm-hosted" in text
    assert "bochs-bin -q -f bochsrc -rc 'commands of difftest'" in text
    assert "guest receives #GP (incorrect)" in text


def test_a_run_of_many_checks_tells_what_nobody_expected_and_lists_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("difftest.report.terminal.FEW", 1)
    unknown = msgspec.structs.replace(sample.MANIFEST, known=[])
    texts = []
    for stored in (sample.write_run(tmp_path / "known"), sample.write_run(tmp_path / "new", manifest=unknown)):
        out = io.StringIO()
        show(stored, out, full=False, width=200)
        texts.append(out.getvalue())
        assert " not-present " in out.getvalue() and " mapped " not in out.getvalue(), (
            "what agrees is counted, not listed"
        )
        assert f"difftest report {stored.meta.run}" in out.getvalue()
    known, new = texts
    assert "0x30 (48, EPT violation)" in new and "guest receives #GP (incorrect)" in new
    assert "0x30" not in known and "KVM wrong in 1 of 2 checks" in known


@pytest.mark.parametrize("width", [None, 40, 80, 200])
def test_terminal_keeps_its_width(run: StoredRun, width: int | None) -> None:
    assert max(len(line) for line in printed(run, width).splitlines()) <= (width or PIPED_WIDTH)


def test_terminal_that_is_not_utf8(run: StoredRun, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        show(run, out)
    assert b"KVM wrong" in (tmp_path / "out").read_bytes()


def test_json_is_complete(run: StoredRun) -> None:
    document = json.loads(json_report(run))
    assert document["schema"] == 2
    assert document["answer"] == "KVM wrong in 1 of 2 checks"
    wrong = document["results"][1]
    assert (wrong["verdict"], wrong["label"], wrong["standing"], wrong["expected"]) == (
        "subject-wrong",
        "KVM wrong",
        "known",
        True,
    )
    fields = {field["name"]: field for field in wrong["fields"]}
    assert fields["exit_reason"] == {
        "name": "exit_reason",
        "values": {"bochs": "0x30", "host-cpu": "0x30", "kvm-hosted": "0x0"},
        "required": dict.fromkeys(("bochs", "host-cpu", "kvm-hosted"), "0x30"),
        "compared": True,
        "differs": True,
    }
    assert [(side["role"], side["target"], side["status"]) for side in wrong["sides"]] == [
        ("reference", "bochs", "PASS"),
        ("host-cpu", "host-cpu", "PASS"),
        ("subject", "kvm-hosted", "FAIL"),
    ]
    assert fields["exit_qualification"]["differs"] is False
    for observation in document["observations"]:
        folder = run.folder / observation["folder"]
        assert (folder / "serial.bin").stat().st_size == observation["serial_bytes"]
    assert document["observations"][0]["rows"]["21"] == {"memory": "GOOD", "ocr": "GOOD", "agree": True}


def test_frames(run: StoredRun) -> None:
    results = results_frame(run)
    assert list(results["verdict"]) == ["agree", "subject-wrong"]
    assert list(results["expected"]) == [True, True]
    fields = fields_frame(run)
    assert list(fields["target"].unique()) == ["bochs", "host-cpu", "kvm-hosted"]
    broken = fields[fields["broken"]]
    assert list(zip(broken["field"], broken["target"], broken["value"], strict=True)) == [
        ("exit_reason", "kvm-hosted", "0x0")
    ]
    differing = fields[fields["differs"] & (fields["role"] == "subject")]
    assert list(differing["field"]) == ["exit_reason", "guest_physical_address", "vector", "error_code"]
    timings = timings_frame(run)
    whole = timings[(timings["kind"] == "seconds") & (timings["name"] == "whole")]
    assert list(whole["target"]) == ["bochs", "host-cpu", "kvm-hosted"]
    assert list(whole["value"]) == [2.25, 2.25, 2.25]


def test_frames_of_an_empty_run_have_their_columns(tmp_path: Path) -> None:
    RunWriter.create(tmp_path, sample.meta())
    empty = StoredRun.find(tmp_path)
    for frame in (results_frame(empty), fields_frame(empty), timings_frame(empty)):
        assert len(frame) == 0
        assert "run" in frame.columns


def test_a_run_that_was_killed_before_anything_was_judged(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    (tmp_path / "disk.img").write_bytes(sample.IMAGE)
    writer.add_case(sample.snapshot(), tmp_path / "disk.img")
    writer.add_observation(sample.CASE, BootRecord(), sample.GOOD)
    run = StoredRun.find(tmp_path)
    text = printed(run)
    assert "Nothing was judged" in text
    assert "1 case not judged" in text
    assert "not finished" in text
    assert "This run was not finished" in html_report(run)
    assert json.loads(json_report(run))["tally"]["unjudged"] == 1


def test_a_side_that_was_never_booted(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    (tmp_path / "disk.img").write_bytes(sample.IMAGE)
    writer.add_case(sample.snapshot(), tmp_path / "disk.img")
    tcg = Names(target="tcg", implementation="TCG")
    skipped = result(Verdict.SKIPPED, case=sample.CASE, subject=tcg, statuses="- -", reason="tcg has no vmx")
    broken = result(
        Verdict.INCONCLUSIVE,
        case=sample.CASE,
        reason="QEMU ended with exit code 1",
        statuses="- -",
        expected=False,
    )
    writer.add_results(sample.CASE, [skipped, broken])
    run = StoredRun.find(tmp_path)
    text = printed(run)
    assert "No verdict on 1 of 2 checks" in text
    assert "QEMU ended with exit code 1" in text
    assert "never booted" in text
    page = html_report(run)
    assert "Never booted." in page
    assert "It was not started." in page


def test_repeated_boots_are_all_told(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    writer = RunWriter(run.folder, run.meta)
    crashed = msgspec.structs.replace(sample.BAD, ending=Ending.TRIPLE_FAULT, detail="third exception", serial=b"")
    writer.add_observation(sample.CASE, BootRecord(number=1, repeat=1), crashed)
    assert "first of 2 boots" in printed(run, 300)
    assert "triple-fault: third exception" in html_report(run)


def test_a_warning_of_the_kernel_under_test_is_a_finding(tmp_path: Path) -> None:
    fault = "WARNING: CPU: 0 PID: 1 at nested.c:1"
    warned = [KernelFault(line=fault, trace=["nested_vmx_vmexit", "vmx_handle_exit"], in_kvm=True)]
    bad = msgspec.structs.replace(sample.BAD, kernel_faults=warned, logs={"kernel.log": f"boot\n{fault}\n".encode()})
    run = sample.write_run(tmp_path, right=bad)
    assert [one.check for one in run.all_results()][-1] == HOST_KERNEL
    for text in (printed(run, 200), html.unescape(html_report(run))):
        assert fault in text
        assert "the log of the kernel under test" in text
        assert "all trace: nested_vmx_vmexit < vmx_handle_exit" in " ".join(text.split())


def test_a_failure_that_the_cpu_shares_names_what_would_decide_it(tmp_path: Path) -> None:
    host = msgspec.structs.replace(sample.HOST, serial=sample.BAD.serial)
    run = sample.write_run(tmp_path, host=host)
    text = " ".join(printed(run, 200).split())
    assert "Shared with the hardware in 1 of 2 checks" in text
    assert "bochs : host-cpu : kvm-hosted PASS : FAIL : FAIL" in text
    assert "Bochs 3.0+dfsg-1 (corei7_haswell_4770), the CPU under it, breaks the SDM in the same way" in text
    assert "To be decided by: whether L0 handles the access" in text
    assert json.loads(json_report(run))["results"][1]["hints"][0].startswith("to be decided by")


@pytest.mark.parametrize(
    ("verdict", "statuses", "words"),
    [
        (Verdict.SUBJECT_WRONG, "SKIP FAIL", "KVM does not do what the SDM requires."),
        (Verdict.REFERENCE_WRONG, "FAIL SKIP", "Bochs does not do what the SDM requires."),
        (Verdict.AGREE, "OPEN OPEN", "Both sides gave the same records."),
    ],
)
def test_nobody_is_said_to_do_what_was_not_seen(verdict: Verdict, statuses: str, words: str) -> None:
    text = paragraph(result(verdict, statuses=statuses))
    assert words in text and "does what the SDM requires" not in text and "as the SDM requires" not in text


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([], "Nothing was judged"),
        ([result(Verdict.AGREE)], "1 check, no divergence"),
        ([result(Verdict.AGREE)] * 3, "All 3 checks agree"),
        ([result(Verdict.AGREE), result(Verdict.SKIPPED)], "2 checks, no divergence"),
        ([result(Verdict.SKIPPED)], "Skipped: 1 check"),
        ([result(Verdict.AGREE), result(Verdict.INCONCLUSIVE, expected=False)], "No verdict on 1 of 2 checks"),
        ([result(Verdict.REFERENCE_WRONG), result(Verdict.DIFFER)], "Bochs wrong in 1 of 2 checks, differ in 1"),
        ([result(Verdict.BOTH_WRONG)], "Both wrong in 1 of 1 check"),
    ],
)
def test_the_answer_in_words(results: list[Result], words: str) -> None:
    assert headline(count(results)) == words


def test_every_result_is_counted_once() -> None:
    known = KnownDivergence(check="k", verdict=Verdict.DIFFER, reason="r")
    results = [result(verdict, expected=False) for verdict in Verdict] + [result(Verdict.DIFFER, known=known)]
    tally = count(results)
    assert tally.agree + tally.divergences + tally.inconclusive + tally.skipped == len(results)
    assert (tally.known, tally.new, tally.gone) == (1, 7, 1)
    assert sum(tally.blame.values()) == tally.divergences


@pytest.mark.parametrize(
    ("command", "boots", "line"),
    [
        (["difftest", "run"], "", "difftest run ept-pdpte-load -k not-present --target kvm-hosted"),
        (
            ["difftest", "run", "--kernel", "6.12"],
            "",
            "difftest run ept-pdpte-load -k not-present --target kvm-hosted --kernel 6.12",
        ),
        (
            ["difftest", "--cpu-model", "tigerlake", "--kernel=a b"],
            "2/3",
            "difftest run ept-pdpte-load -k not-present --target kvm-hosted --cpu-model tigerlake --kernel 'a b' "
            "--repeat 3",
        ),
    ],
)
def test_the_line_that_shows_a_result_again(run: StoredRun, command: list[str], boots: str, line: str) -> None:
    again = StoredRun(run.folder, msgspec.structs.replace(run.meta, command=command))
    (pair,) = digest(again).pairs
    assert reproduce(pair, msgspec.structs.replace(pair.findings[0], boots=boots)) == line


def test_what_differs_between_the_targets_is_marked(run: StoredRun) -> None:
    from difftest.report.environment import environments

    targets, lines = environments(digest(run).pairs, run.meta)
    assert targets == ["bochs", "host-cpu", "kvm-hosted"]
    assert [(line.key, line.values, line.differs) for line in lines] == [
        ("bochs", ["2.7+dfsg-4", "3.0+dfsg-1", ""], True),
        ("cpu model", ["corei7_haswell_4770", "corei7_haswell_4770", "host"], True),
        ("hosting bochs", ["", "", "3.0+dfsg-1"], False),
        ("hosting cpu model", ["", "", "corei7_haswell_4770"], False),
        ("kernel", ["", "", "6.1.176-1"], False),
        ("qemu", ["", "", "1:7.2+dfsg-7"], False),
    ]


def test_two_identities_of_one_target_are_both_told(tmp_path: Path) -> None:
    from difftest.report.environment import environments

    run = sample.write_run(tmp_path)
    other = msgspec.structs.replace(sample.BAD, identity=sample.BAD.identity | {"kernel": "6.12"})
    RunWriter(run.folder, run.meta).add_observation(sample.CASE, BootRecord(number=1, repeat=1), other)
    _, lines = environments(digest(run).pairs, run.meta)
    assert [line.values[2] for line in lines if line.key == "kernel"] == ["6.1.176-1 / 6.12"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("exit_reason", "0x30", "48, EPT violation"),
        ("exit_reason", "0x80000021", "33, VM-entry failure: guest state, VM entry failed"),
        ("exit_reason", "0xffff", ""),
        ("vector", "0xd", "13, #GP"),
        ("vector", "13", ""),
        ("cr0", "0x80000031", "PG NE ET PE"),
        ("vm_instruction_error", "0x7", "7, VM entry with invalid control fields"),
        ("exit_reason", None, ""),
    ],
)
def test_raw_values_in_words(field: str, value: str | None, words: str) -> None:
    assert meaning(field, value) == words


def test_reports_import_no_emulator_and_pandas_only_for_frames() -> None:
    code = """
import sys
import difftest.report.html, difftest.report.json, difftest.report.terminal
ours = {name for name in sys.modules if name.startswith("emulators.")}
names = "standalone host host.errors host.expression observation ram_log target versions"
plain = {f"emulators.{name}" for name in names.split()}
sys.exit(f"{ours}" if ours - plain or "pandas" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_catalogue_tells_each_check_and_its_versions(run: StoredRun) -> None:
    text = catalogue([run])
    assert "| `not-present` " in text and "KVM wrong" in text
    assert "PDPTE Registers (Vol. 3, 4.4.1)" in text
    assert "bochs : host-cpu : kvm-hosted: PASS : PASS : FAIL" in text
