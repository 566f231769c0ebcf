"""The report of a big run opens with what diverges, and families; one of a few checks does not."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
import pytest

from difftest.atomic import encode
from difftest.report.families import FEW, families, in_order
from difftest.report.html import html_report
from difftest.report.terminal import show
from difftest.run.store import StoredRun
from difftest.verdict import Verdict
from tests import generated_runs as generated
from tests import sample_run as sample
from tests.test_compare import one

HOSTILE = "<script>alert(1)</script>\x1b[2J"


@pytest.fixture
def big(tmp_path: Path) -> StoredRun:
    (folder,) = generated.write_runs(tmp_path, (4, 3), 1, 60)
    return StoredRun.open(folder)


def printed(run: StoredRun) -> str:
    out = io.StringIO()
    show(run, out, width=120)
    return out.getvalue()


def test_families_with_something_unexpected_are_first() -> None:
    known = msgspec.structs.replace(one(Verdict.SUBJECT_WRONG), known=sample.MANIFEST.known[0], case="a", expected=True)
    new = msgspec.structs.replace(one(Verdict.SUBJECT_WRONG), case="b", expected=False, check="new")
    gone = msgspec.structs.replace(one(Verdict.AGREE), known=sample.MANIFEST.known[0], case="b", expected=False)
    found = families([known, msgspec.structs.replace(known, case="b"), gone, new])
    assert [(family.name, family.unexpected, family.total) for family in found] == [("b", 2, 3), ("a", 0, 1)]
    assert found[0].words == "3 of 3: KVM wrong 2, agree 1; 2 not known"
    assert in_order(found[0].findings)[0].check == "new"


def test_in_the_terminal_every_divergence_is_above_every_agreement(big: StoredRun) -> None:
    rows = [line for line in printed(big).splitlines() if re.match(r" family-\d\s+X-\d{3}/one ", line)]
    verdicts = [" agree " in line for line in rows]
    assert len(rows) == 60 and verdicts == sorted(verdicts) and set(verdicts) == {True, False}


def test_on_the_page_what_diverges_is_first_and_counted(big: StoredRun) -> None:
    page = html_report(big)
    assert (
        page.index("<h2>What diverges</h2>")
        < page.index("<h2>Families by verdict</h2>")
        < page.index("<h2>All checks</h2>")
    )
    opening = page.partition('id="diverges">')[2].partition("<h2>")[0]
    diverging = [number for number in range(60) if any(generated.wrong(number, 0, 0, (4, 3)))]
    assert re.findall(r">X-(\d{3})/one</a>", opening) == [
        f"{n:03}" for n in sorted(diverging, key=lambda n: (n % 8, n))
    ]
    table = page.partition('<table id="families">')[2].partition("</table>")[0]
    assert sum(map(int, re.findall(r'class="badge heat \S+" style="--deep: \d+%">(\d+)<', table))) == 60
    anchors = re.findall(r'href="#(finding-[^"]+)"', opening)
    assert anchors and all(f'id="{anchor}"' in page for anchor in anchors)


def test_a_small_run_is_reported_check_by_check(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    assert len(run.all_results()) <= FEW
    assert "What diverges" not in html_report(run) and "<h2>Checks</h2>" in html_report(run)


def test_names_of_a_big_run_are_escaped(big: StoredRun) -> None:
    for path in big.folder.glob("cases/*/results.json"):
        results = big.results(path.parent.name)
        path.write_bytes(encode([msgspec.structs.replace(result, case=HOSTILE, check=HOSTILE) for result in results]))
    assert "<script>alert" not in html_report(big) and "\x1b" not in html_report(big) + printed(big)


@pytest.mark.parametrize(("rows", "shown"), [(({}, {}), False), (({}, {20: "BAD"}), True)])
def test_screens_that_show_nothing_are_not_on_the_page(
    tmp_path: Path, rows: tuple[dict[int, str], dict[int, str]], shown: bool
) -> None:
    run = sample.write_run(tmp_path, host=None, words=rows)
    page = html_report(run)
    assert ("data:image/png" in page) == shown == ("<h4>Screens</h4>" in page)
    assert ("are blank on all sides" in page) == (not shown)


def test_a_screen_that_was_not_read_is_shown(tmp_path: Path) -> None:
    """Blank rows are a reading; where there is none nothing is known of them."""
    run = sample.write_run(tmp_path, host=None, words=({}, {}))
    for path in run.folder.rglob("screen.json"):
        path.unlink()
    assert "data:image/png" in html_report(run)
