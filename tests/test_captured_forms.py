"""Every report form, the bug text and the bundle, of runs that were captured from real boots. No emulator runs."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from junitparser import JUnitXml, TestCase

from difftest.errors import StoreError
from difftest.judging.result import Result
from difftest.report.bug import bug_report
from difftest.report.bundle import bundle
from difftest.report.digest import digest
from difftest.report.lookup import found
from difftest.report.terminal import show
from difftest.report.words import NO_CHECKS
from difftest.verdict import MEANINGS, Verdict
from emulators.fake import Fake, observation
from tests.test_captured import EXPECTED, SCHEMA_1, captured
from tests.test_formats import Tags, every_form, harmless

LEFT_OUT = {"suite"}  # whose image is too large to be kept
every_scenario = pytest.mark.parametrize("name", list(EXPECTED))
every_run = pytest.mark.parametrize("name", [*EXPECTED, *SCHEMA_1])


@cache
def forms(name: str, folder: Path) -> dict[str, str]:
    return every_form(captured(name), folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forms")


@every_run
def test_every_form_is_whole_and_harmless(name: str, folder: Path) -> None:
    made = forms(name, folder)
    harmless(made, Tags(made["html"]).seen)
    assert not Unclosed(made["html"]).open


@every_run
def test_every_form_names_each_verdict(name: str, folder: Path) -> None:
    made, results = forms(name, folder), captured(name).all_results()
    keys = [(one.case, one.check, one.subject.target) for one in results]
    assert read_json(made) == {key: one.verdict.value for key, one in zip(keys, results, strict=True)}
    assert read_csv(made) == {key: one.label for key, one in zip(keys, results, strict=True)}
    tests, lines = read_junit(made), read_ktap(made)
    assert list(tests) == keys and [check for check, _ in lines] == [one.check for one in results]
    for key, one, (_, ktap_words) in zip(keys, results, lines, strict=True):
        found = MEANINGS[one.verdict].diverges or not one.expected
        if found or one.verdict == Verdict.SKIPPED:
            assert one.label in str(tests[key].result[0].message) and one.label in ktap_words
        else:
            assert not tests[key].result and ktap_words.startswith("ok")
        for form in ("terminal", "html", "catalogue", *(["summary"] if found else [])):
            text = re.sub(r"\\(.)", r"\1", made[form]) if form in ("catalogue", "summary") else made[form]
            assert one.label in text, form


@every_run
def test_the_bug_text_is_of_each_wrong_side(name: str) -> None:
    run = captured(name)
    for check in dict.fromkeys(f"{result.case}/{result.check}" for result in run.all_results()):
        _, result = found(digest(run), check)  # of several subjects the first that a verdict blames
        if not result.wrong:
            with pytest.raises(StoreError):
                bug_report(run, check)
            continue
        text = bug_report(run, check)
        for side in result.wrong:
            assert f"Summary: {side.implementation}: " in text
        assert run.cases()[0].image_sha256 in text
        again = re.findall(r"or with difftest:\n +(difftest run .*)", text)
        assert len(again) == len(result.wrong) and not any("/home" in line for line in again)
        if result.check not in NO_CHECKS and run.cases()[0].checks:
            assert all(f"-k {result.check}" in line for line in again)


def test_the_bug_text_has_the_other_kernels_of_the_command() -> None:
    text = bug_report(captured("older-kernel"), "P-08/cd")
    assert (
        "Other kernels, run by the same command:\n  Linux 6.1." in text and ": KVM does what is required (PASS)" in text
    )
    assert "Whether it is a regression is not known" in bug_report(captured("internal-error"), "L1-08")


@every_scenario
def test_the_bundle_has_all_that_needs_no_emulator(name: str) -> None:
    run = captured(name)
    (case,) = run.cases()
    pair, result = found(digest(run), f"{case.name}/{run.all_results()[-1].check}")
    sides = {side.target: Fake(side.target, lambda _: observation("never", b"")) for side in result.sides}
    if name in LEFT_OUT:
        with pytest.raises(StoreError):
            bundle(run, f"{case.name}/{result.check}", sides, carry=False)
        return
    _, data = bundle(run, f"{case.name}/{result.check}", sides, carry=False)
    files = unpacked(data)
    assert len(gzip.decompress(files["disk.img.gz"])) == case.image_bytes
    assert ("report.txt" in files) == bool(result.wrong)
    assert msgspec.json.decode(files["result.json"], type=Result) == result
    assert files["rerun.sh"].startswith(b"#!") and files["environment.txt"]
    for side in [side.of(result) for side in pair.sides]:
        target, boot = side.names.target, side.observation
        assert (f"{target}/serial.bin" in files) == (boot is not None)
        if boot is not None:
            assert files[f"{target}/serial.bin"] == boot.serial and files.get(f"{target}/screen.png") == boot.screen
            assert files[f"{target}/commands.txt"].count(b"\n") == len(boot.commands)
            record = f"difftest 1 check {result.check} ".encode()
            assert files[f"{target}/record.txt"].startswith(record) == (record in boot.words)


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        return {path: file.read() for path, file in files.items() if file is not None}


@pytest.mark.parametrize("full", [True, False])
def test_skipped_checks_say_why_in_the_terminal(full: bool) -> None:
    for name, words in (
        ("no-vmx", "ept-pdpte-load: skipped: tcg has no ept, unrestricted-guest, vmx (mapped, not-present)"),
        ("no-feature", "pdpte: skipped: bochs: no SMAP (P-13/smap)"),
    ):
        assert words in shown(name, full=full)


def test_a_known_shared_failure_without_a_record_names_the_command_that_makes_one() -> None:
    command = "difftest run pdpte -k P-09/wp --target kvm-hosted --kernel 6.1 --exits"
    for full in (True, False):
        assert command in shown("shared", full=full)
        assert "--exits" not in shown("exits", full=full).replace("(difftest run --exits)", "")


def shown(name: str, *, full: bool) -> str:
    out = io.StringIO()
    show(captured(name), out, width=200, full=full)
    return out.getvalue()


Key = tuple[str, str, str]


def read_json(made: dict[str, str]) -> dict[Key, str]:
    """The verdicts of the document, which are those of the lines, too."""
    document: dict[str, Any] = msgspec.json.decode(made["json"])
    lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in made["jsonl"].splitlines()]
    assert [line["verdict"] for line in lines if line["kind"] == "result"] == [
        one["verdict"] for one in document["results"]
    ]
    return {(one["case"], one["check"], one["sides"][-1]["target"]): one["verdict"] for one in document["results"]}


def read_csv(made: dict[str, str]) -> dict[Key, str]:
    rows = csv.DictReader(io.StringIO(made["results.csv"]))
    return {(row["case"], row["check"], row["subject"]): row["label"] for row in rows}


def read_junit(made: dict[str, str]) -> dict[Key, TestCase]:
    cases = [case for suite in JUnitXml.fromstring(made["junit"]) for case in suite]
    named = [(str(case.classname).rpartition("."), case) for case in cases]
    return {(name, str(case.name), target): case for (name, _, target), case in named}


def read_ktap(made: dict[str, str]) -> list[tuple[str, str]]:
    """The check of each line of a subtest, and the line with the notes before it."""
    found, notes = [], ""
    for line in made["ktap"].splitlines():
        if match := re.fullmatch(r"    ((?:not )?ok \d+ (.+?)(?: # .*)?)", line):
            found.append((match[2], f"{match[1]} {notes}"))
            notes = ""
        elif line.startswith("    # "):
            notes += line
    return found


class Unclosed(HTMLParser):
    """The elements of a page that are not closed, or not in their order."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link", "col", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.open.append(f"/{tag}")
