"""The history of stored runs: what each version showed, since when, fixed in which, and what is new."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from typer.testing import CliRunner

from difftest.atomic import encode
from difftest.case.manifest import HOST_KERNEL
from difftest.cli import app
from difftest.errors import StoreError
from difftest.history.faults import DIFFERS, VersionFault, faults, span
from difftest.history.ledger import BAD, GOOD, NONE, Ledger, ledger, shown
from difftest.history.news import EventKind, events, of_last_week, steps
from difftest.history.stored import stored_runs
from difftest.history.versions import order
from difftest.report.site.feed import MOST_ENTRIES
from difftest.report.site.pages import write_site
from difftest.run.store import StoredRun
from difftest.verdict import Status, Verdict
from tests import generated_runs as generated
from tests import sample_run as sample
from tests.test_compare import one, run
from tests.test_report_html import hostile_run

OF = (4, 3)
CHECKS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    generated.write_runs(folder, OF, 12, CHECKS)
    return folder


def read(*folders: Path) -> Ledger:
    found = stored_runs(folders)
    return ledger(found.runs, found.troubles)


def of(found: list[VersionFault], book: Ledger, check: str, who: str) -> VersionFault:
    (fault,) = [fault for fault in found if (book.checks[fault.check].check, fault.who) == (check, who)]
    return fault


def test_versions_are_in_the_order_of_their_numbers() -> None:
    versions = ["Linux 6.12.1", "Linux 6.2", "Linux 7.0-rc2", "Linux 7.0", "Linux 5.10.200", "Linux 7.0-rc1", ""]
    assert sorted(versions, key=order) == [
        "", "Linux 5.10.200", "Linux 6.2", "Linux 6.12.1", "Linux 7.0-rc1", "Linux 7.0-rc2", "Linux 7.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shows", "words", "fixed"),
    [
        ({"L 1": {BAD}, "L 2": {BAD}}, "all 2 tried, L 1 to L 2", ""),
        ({"L 2": {BAD}}, "L 2, the only one tried", ""),
        ({"L 1": {GOOD}, "L 2": {BAD}, "L 10": {BAD}}, "since L 2 (L 1 is right), also in L 10", ""),
        ({"L 1": {BAD}, "L 2": {BAD}, "L 10": {GOOD}}, "since L 1 or before, fixed in L 10", "L 10"),
        ({"L 1": {BAD}, "L 2": {NONE}, "L 10": {GOOD}}, "since L 1 or before, fixed in L 10", "L 10"),
        ({"L 1": {GOOD}, "L 2": {BAD}, "L 3": {GOOD}}, "since L 2 (L 1 is right), fixed in L 3", "L 3"),
        ({"L 1": {BAD}, "L 2": {GOOD}, "L 3": {BAD}, "L 4": {GOOD}}, "L 1, L 3", "L 4"),
        ({"L 1": {BAD, GOOD}, "L 2": {NONE}}, "L 1, the only one tried", ""),
        ({"L 1": {GOOD}, "L 2": {NONE}}, "", ""),
    ],
)
def test_a_span_says_since_which_version_and_fixed_in_which(shows: dict[str, set[int]], words: str, fixed: str) -> None:
    found = span(shows)
    assert (found.words, found.fixed_in) == (words, fixed)


def test_what_a_verdict_says_of_each_side() -> None:
    passed, failed, opened = Status.PASS, Status.FAIL, Status.OPEN
    assert shown(Verdict.SUBJECT_WRONG, passed, failed)[1:] == (BAD, GOOD, GOOD)
    assert shown(Verdict.REFERENCE_WRONG, failed, passed)[1:] == (GOOD, BAD, GOOD)
    assert shown(Verdict.SHARED, passed, failed)[1:] == (BAD, GOOD, GOOD), "KVM fails it, whoever's fault it is"
    assert shown(Verdict.AGREE, opened, opened)[1:] == (GOOD, GOOD, GOOD)
    assert shown(Verdict.DIFFER, opened, opened)[1:] == (NONE, NONE, BAD)
    assert shown(Verdict.FLAKY, passed, failed)[1:] == (NONE, NONE, BAD), "what comes and goes blames nobody"
    assert shown(Verdict.INCONCLUSIVE, passed, failed)[1:] == (NONE, NONE, NONE)
    assert shown(Verdict.SKIPPED, Status.SKIP, Status.SKIP)[1:] == (NONE, NONE, NONE)


def test_each_generated_fault_has_the_versions_of_its_rule(root: Path) -> None:
    """By the rule itself, for all checks, both sides and all versions."""
    book = read(root)
    found = faults(book)
    for number in range(CHECKS):
        for side, (who, name, versions) in enumerate(
            (("KVM", "Linux", generated.kernels(OF[0])), ("Bochs", "Bochs", generated.programs(OF[1])))
        ):
            bad = [
                f"{name} {version}"
                for place, version in enumerate(versions)
                if generated.wrong(number, *((place, 0) if side == 0 else (0, place)), OF)[side]
            ]
            got = [one for one in found if (book.checks[one.check].check, one.who) == (f"X-{number:03}/one", who)]
            assert len(got) == bool(bad)
            if bad:
                (fault,) = got
                assert [version for version, state in fault.span.decided if state == BAD] == bad
                after = versions[len(bad) :]
                assert fault.span.fixed_in == (f"{name} {after[0]}" if after else "")


def test_what_an_older_run_showed_is_not_what_the_version_shows(tmp_path: Path) -> None:
    run(tmp_path, "20260101-000000-a", "6.1.1", [one(Verdict.SUBJECT_WRONG)])
    run(tmp_path, "20260102-000000-b", "6.1.1", [one(Verdict.AGREE)])
    for name, day in (("20260101-000000-a", 1), ("20260102-000000-b", 2)):
        at(tmp_path / name, f"2026-01-{day:02}T00:00:00+00:00")
    book = read(tmp_path)
    (fault,) = faults(book)
    assert fault.span.words == "" and (fault.first, fault.last) == (0, 0)
    changes = [event for event in events(book, [fault]) if event.kind == EventKind.CHANGED]
    assert [(event.run, event.words[:38]) for event in changes] == [(1, "subject-wrong before, agree now, on Li")]


def at(folder: Path, started: str) -> None:
    stored = StoredRun.open(folder)
    (folder / "run.json").write_bytes(encode(msgspec.structs.replace(stored.meta, started=started)))


def test_a_quiet_log_of_a_kernel_counts_as_right(tmp_path: Path) -> None:
    """A kernel without a finding has no result on its log; one without a verdict on all else shows nothing."""
    named = {"check": HOST_KERNEL, "statuses": "- FAIL"}
    run(tmp_path, "a", "6.1.1", [one(Verdict.AGREE), one(Verdict.SUBJECT_WRONG, **named)])
    run(tmp_path, "b", "6.12.1", [one(Verdict.AGREE)])
    run(tmp_path, "c", "7.1.1", [one(Verdict.INCONCLUSIVE)])
    book = read(tmp_path)
    fault = of(faults(book), book, HOST_KERNEL, "KVM")
    assert fault.span.words == "since Linux 6.1.1 or before, fixed in Linux 6.12.1"
    assert "Linux 7.1.1" not in fault.span.versions


def test_sides_that_differ_where_nobody_is_wrong_are_a_fault_of_neither(tmp_path: Path) -> None:
    run(tmp_path, "a", "6.1.1", [one(Verdict.DIFFER)])
    book = read(tmp_path)
    assert [fault.who for fault in faults(book)] == [DIFFERS]


def test_what_was_chosen_otherwise_is_a_column_of_its_own(tmp_path: Path) -> None:
    for name, parameters in (("a", {}), ("b", {}), ("c", {"asked module parameters": "ept=0"})):
        run(tmp_path, name, "6.1.1", [one(Verdict.AGREE)], **parameters)
    assert [column.variant for column in read(tmp_path).columns] == ["", "ept=0"]


def test_a_copy_counts_once_and_a_damaged_run_is_named(tmp_path: Path) -> None:
    first = run(tmp_path / "one", "a", "6.1.1", [one(Verdict.AGREE)]).folder
    shutil.copytree(first, tmp_path / "two" / "deeper" / "a")
    broken = run(tmp_path / "one", "b", "6.1.2", [one(Verdict.AGREE)]).folder
    (broken / "cases" / "c" / "results.json").write_text("[{]")
    at(first, StoredRun.open(first).meta.started)
    book = read(tmp_path)
    assert [one.meta.run for one in book.runs] == ["a"] and len(book.frame) == 1
    assert len(book.troubles) == 1 and "results.json" in book.troubles[0]
    with pytest.raises(StoreError, match="no run is in it"):
        stored_runs([tmp_path / "one" / "a" / "cases"])


def test_the_week_ends_with_the_newest_run(tmp_path: Path) -> None:
    generated.write_runs(tmp_path, (4, 1), 2, 60, datetime(2026, 3, 1, tzinfo=UTC))
    at(next(iter(sorted(tmp_path.iterdir()))), "2026-01-01T00:00:00+00:00")
    book = read(tmp_path)
    found = faults(book)
    week = of_last_week(book, events(book, found))
    assert week and {event.run for event in week} == {1}
    assert {event.kind for event in week} == {EventKind.FIXED}, "each was there in the older kernel"


def test_steps_name_what_a_version_repaired(root: Path) -> None:
    book = read(root)
    found = faults(book)
    first, second = (f"Bochs {one}" for one in generated.programs(OF[1])[:2])
    (step,) = [step for step in steps(found) if (step.before, step.after) == (first, second)]
    expected = {
        f"X-{number:03}/one"
        for number in range(CHECKS)
        if generated.wrong(number, 0, 0, OF)[1] and not generated.wrong(number, 0, 1, OF)[1]
    }
    assert {book.checks[found[one].check].check for one in step.fixed} == expected and expected
    assert step.new == []


def test_every_address_in_the_site_is_there(root: Path, tmp_path: Path) -> None:
    write_site(read(root), tmp_path)
    index = (tmp_path / "index.html").read_text()
    links = set(re.findall(r'href="([^"#]+)"', index))
    assert links and all((tmp_path / link).is_file() for link in links)
    for page in (tmp_path / "check").iterdir():
        assert 'href="../index.html"' in page.read_text()
    entries = ElementTree.parse(tmp_path / "feed.xml").getroot().findall("{http://www.w3.org/2005/Atom}entry")
    assert 0 < len(entries) <= MOST_ENTRIES
    ids = [entry.findtext("{http://www.w3.org/2005/Atom}id") for entry in entries]
    assert len(set(ids)) == len(ids)


def test_a_page_has_the_evidence_of_a_real_boot(tmp_path: Path) -> None:
    sample.write_run(tmp_path / "runs")
    write_site(read(tmp_path / "runs"), tmp_path / "site")
    (page,) = (tmp_path / "site" / "check").iterdir()
    text = page.read_text()
    for words in ("KVM wrong", "guest receives #GP (incorrect)", "row 20: BAD", "data:image/png", "difftest run"):
        assert words in text, words


def test_what_a_hostile_run_holds_is_escaped(tmp_path: Path) -> None:
    hostile_run(tmp_path / "runs")
    stored = stored_runs([tmp_path / "runs"]).runs[0]
    name = "</script><script>alert(1)</script>\x1b[31m\u202e"
    meta = msgspec.structs.replace(
        stored.meta,
        started=name,
        identities={key: {**one, "bochs": name} for key, one in stored.meta.identities.items()},
    )
    (stored.folder / "run.json").write_bytes(encode(meta))
    for path in stored.folder.glob("cases/*/results.json"):
        results = [msgspec.structs.replace(one, check=name, summary=name) for one in stored.results(path.parent.name)]
        path.write_bytes(encode(results))
    write_site(read(tmp_path / "runs"), tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.*ml"):
        text = path.read_text()
        assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text, path
    assert all(path.parent.name == "check" for path in (tmp_path / "site").rglob("*") if "alert" in path.name)
    ElementTree.parse(tmp_path / "site" / "feed.xml")


def test_the_command_says_what_it_wrote_and_prints_without(root: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["history", str(root), "--html", str(tmp_path / "site")])
    assert done.exit_code == 0 and (tmp_path / "site" / "index.html").is_file(), done.output
    printed = CliRunner().invoke(app, ["history", str(root)])
    assert printed.exit_code == 0
    assert "X-003/one" in printed.output and "divergences in 12 runs" in printed.output
