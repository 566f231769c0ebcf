"""The HTML report, and the site of a history, in a real browser: they look as they should in the light, in the dark and
on a phone, and what they have of script works.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from difftest.history.ledger import ledger
from difftest.history.stored import stored_runs
from difftest.report.html import html_report
from difftest.report.site.pages import write_site
from difftest.run.writer import RunWriter
from tests import generated_runs as generated
from tests import sample_run as sample
from tests.test_report_html import hostile_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian package chromium)")
PHONE = 390


def chromium(folder: Path, page: str, *options: str) -> str:
    """Open a page and return the DOM as it is when its script has run."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    argv = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
    ]
    done = subprocess.run(
        [*argv, *options, path.as_uri()], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Content Security Policy" not in done.stderr
    return done.stdout


@pytest.fixture
def page(tmp_path: Path) -> str:
    run = sample.write_run(tmp_path / "run")
    RunWriter(run.folder, run.meta).add_confirmations(sample.CASE, sample.CONFIRMED)
    return html_report(run)


def asked(page: str, script: str) -> str:
    """The page without its policy and with a script of the test's at its end."""
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert without != page
    return without.replace("</body>", f"<script>{script}</script></body>")


def test_its_script_runs_under_its_own_policy(tmp_path: Path, page: str) -> None:
    dom = chromium(tmp_path, page, "--dump-dom")
    assert '<form id="filters" class="small">' in dom, "shown, which only the script does"
    assert re.search(r"<output[^>]*>2 of 2</output>", dom)


@pytest.mark.parametrize(
    ("act", "left"),
    [
        ('words.value = "control"', ["mapped"]),
        ('words.value = "29.3.3.2 ept"', ["not-present"]),
        ('words.value = "nothing of that kind"', []),
        ('boxes.find((box) => box.value == "agree").checked = false', ["not-present"]),
    ],
)
def test_the_table_filters(tmp_path: Path, page: str, act: str, left: list[str]) -> None:
    script = f'{act}; filters.dispatchEvent(new Event("input", {{bubbles: true}}));'
    dom = chromium(tmp_path, asked(page, script), "--dump-dom")
    table = dom.partition('<table class="stack" id="checks">')[2].partition("</table>")[0]
    shown = [
        row
        for row in re.findall(r"<tr data-verdict=.*?</tr>", table, re.DOTALL)
        if "hidden" not in row.partition(">")[0]
    ]
    assert [re.sub(r"<[^>]+>", "", row.partition("<th>")[2].partition("<br>")[0]).strip() for row in shown] == left
    assert f"{len(left)} of 2" in dom


def test_nothing_is_wider_than_a_phone(tmp_path: Path) -> None:
    """Not even what a guest made as wide as it could."""
    page = html_report(hostile_run(tmp_path / "run"))
    measure = "document.title = document.documentElement.scrollWidth + ' in ' + window.innerWidth"
    dom = chromium(tmp_path, asked(page, measure), "--dump-dom", f"--window-size={PHONE},800")
    match = re.search(r"<title>(\d+) in (\d+)</title>", dom)
    assert match is not None
    assert int(match[1]) <= int(match[2])


def test_it_is_light_or_dark_as_the_reader_wants(tmp_path: Path, page: str) -> None:
    brightness = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{name}.png"
        options = (
            f"--screenshot={picture}",
            "--window-size=1280,900",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        chromium(tmp_path, page, *options)
        colours = Image.open(picture).convert("L").resize((1, 1)).getpixel((0, 0))
        assert isinstance(colours, int | float)
        brightness[name] = colours
    assert brightness["dark"] < 80 and brightness["light"] > 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    generated.write_runs(folder / "runs", OF, 12, CHECKS)
    found = stored_runs([folder / "runs"])
    write_site(ledger(found.runs), folder / "site")
    return folder / "site"


OF, CHECKS = (4, 3), 60
OPENED = """
document.querySelector('#heat button[data-open="family-0"]').click();
const cells = [...document.querySelectorAll('#heat tr.check')].map((row) =>
  row.cells[0].textContent + '=' + [...row.cells].slice(1).map((cell) => cell.className || 'none').join(','));
document.querySelector('#heat tr.check td').click();
document.title = cells.join(';') + '|' + document.getElementById('cell').textContent;
"""


def test_the_heat_map_opens_and_is_right(tmp_path: Path, site: Path) -> None:
    """Each cell of a family, by the rule that made the runs."""
    dom = chromium(tmp_path, asked((site / "index.html").read_text(), OPENED), "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    rows, _, explained = title[1].partition("|")
    expected = []
    for number in range(0, CHECKS, generated.FAMILIES):
        verdicts = [
            generated.VERDICTS[generated.wrong(number, kernel, program, OF)].value
            for kernel in range(OF[0])
            for program in range(OF[1])
        ]
        if set(verdicts) != {"agree"}:
            expected.append(f"X-{number:03}/one={','.join(verdicts)}")
    assert expected and rows.split(";") == expected
    assert explained.startswith(expected[0].partition("=")[0]) and "Linux 6.1.7, Bochs 2.7" in explained


def test_the_history_is_searched(tmp_path: Path, site: Path) -> None:
    act = """words.value = 'x-003 kvm'; words.dispatchEvent(new Event('input'));
    document.title = [...document.querySelectorAll('#faults tbody.rows tr')].filter((row) =>
      !row.hidden && !row.parentNode.hidden).map((row) => row.cells[0].querySelector('a').textContent).join()
      + ' ' + document.getElementById('count').textContent;"""
    dom = chromium(tmp_path, asked((site / "index.html").read_text(), act), "--dump-dom")
    assert re.search(r"<title>X-003/one 1 of \d+</title>", dom)


def test_the_site_runs_under_its_policy_and_asks_no_network(tmp_path: Path, site: Path) -> None:
    page = (site / "index.html").read_text()
    dom = chromium(tmp_path, page, "--dump-dom")
    assert '<tr class="family">' in dom, "drawn, which only the script does"
    count = "document.title = performance.getEntriesByType('resource').length + ' loaded';"
    assert "<title>0 loaded</title>" in chromium(tmp_path, asked(page, count), "--dump-dom")


@pytest.mark.proof
def test_ten_thousand_runs_make_a_small_index_that_loads_fast(tmp_path: Path) -> None:
    generated.write_runs(tmp_path / "runs", (40, 5), 10_000, 400)
    found = stored_runs([tmp_path / "runs"])
    assert len(found.runs) == 10_000
    book = ledger(found.runs)
    assert len(book.frame) == 4_000_000 and book.troubles == []
    write_site(book, tmp_path / "site")
    index = tmp_path / "site" / "index.html"
    assert index.stat().st_size < 2_000_000
    timed = """addEventListener('load', () => setTimeout(() => {
      const [entry] = performance.getEntriesByType('navigation');
      document.title = Math.round(entry.loadEventEnd) + ' ms'; }, 0));"""
    dom = chromium(tmp_path, asked(index.read_text(), timed), "--dump-dom", "--virtual-time-budget=60000")
    milliseconds = re.search(r"<title>(\d+) ms</title>", dom)
    assert milliseconds is not None and 0 < int(milliseconds[1]) < 2000
