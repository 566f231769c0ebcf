"""The forms for machines: golden files of one run, and guests that try to break every form. UPDATE_GOLDEN=1 writes them
anew.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml

from difftest.case.manifest import About, KnownDivergence
from difftest.errors import StoreError
from difftest.report import suites
from difftest.report.catalogue import catalogue
from difftest.report.findings import END, START
from difftest.report.forms import FORMS, OptionKind
from difftest.report.html import html_report
from difftest.report.json import json_lines, json_report
from difftest.report.junit import junit
from difftest.report.ktap import ktap
from difftest.report.markdown import cell, summary
from difftest.report.terminal import show
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Verdict
from emulators.observation import KernelFault
from emulators.target import Names
from tests import sample_run as sample
from tests.test_report import golden
from tests.test_report_html import hostile_run
from tests.test_store import SCHEMA_1

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff\ufffe]")


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    return sample.write_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "form"),
    [("junit.xml", junit), ("run.ktap", ktap), ("run.jsonl", json_lines), ("summary.md", summary)],
)
def test_as_it_was(run: StoredRun, name: str, form: object) -> None:
    made = form(run)  # type: ignore[operator]
    golden(name, made if isinstance(made, str) else made.decode())


def test_csv_as_it_was(run: StoredRun, tmp_path: Path) -> None:
    from difftest.report.tables import write_csv

    for path in write_csv(run, tmp_path / "csv"):
        golden(path.name, path.read_text(encoding="utf-8"))


def test_parquet_needs_its_extra_and_says_so(run: StoredRun, tmp_path: Path) -> None:
    from difftest.report.tables import tables, write_parquet

    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(StoreError, match="pyarrow"):
            write_parquet(run, tmp_path)
        return
    import pandas as pd

    for path in write_parquet(run, tmp_path / "parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(path), tables(run)[path.stem], check_dtype=False)


def outcomes(root: Path, **other: object) -> JUnitXml:
    return JUnitXml.fromstring(junit(sample.write_run(root, **other)).decode())  # type: ignore[arg-type]


def test_junit_tells_new_known_gone_and_undecided_apart(tmp_path: Path) -> None:
    unknown = msgspec.structs.replace(sample.MANIFEST, known=[])
    claimed = msgspec.structs.replace(
        sample.MANIFEST,
        known=[KnownDivergence(check="mapped", verdict=Verdict.SUBJECT_WRONG, reason="r"), *sample.MANIFEST.known],
    )
    lost = msgspec.structs.replace(sample.BAD, alarms=["serial output lost"])
    counts = [
        (xml.tests, xml.failures, xml.errors, xml.skipped)
        for xml in (
            outcomes(tmp_path / "known"),
            outcomes(tmp_path / "new", manifest=unknown),
            outcomes(tmp_path / "gone", manifest=claimed),
            outcomes(tmp_path / "undecided", right=lost),
        )
    ]
    assert counts == [(2, 0, 0, 1), (2, 1, 0, 0), (2, 1, 0, 1), (2, 0, 2, 0)]


def test_ktap_uses_its_own_directives(tmp_path: Path) -> None:
    known = ktap(sample.write_run(tmp_path / "known"))
    assert "    ok 2 not-present # XFAIL KVM wrong" in known and known.endswith("\nok 1 ept-pdpte-load kvm-hosted\n")
    new = ktap(sample.write_run(tmp_path / "new", manifest=msgspec.structs.replace(sample.MANIFEST, known=[])))
    assert "    not ok 2 not-present\n" in new and new.endswith("\nnot ok 1 ept-pdpte-load kvm-hosted\n")


def test_no_word_begins_a_ktap_directive(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    told = sample.result(Verdict.DIFFER, case=sample.CASE, check="a # SKIP b", reason="# XFAIL", expected=False)
    RunWriter(run.folder, run.meta).add_results(sample.CASE, [told])
    assert r"    not ok 1 a \# SKIP b" in ktap(run).splitlines()


def test_json_lines_are_whole_and_numbered(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    RunWriter(run.folder, run.meta).add_confirmations(sample.CASE, sample.CONFIRMED)
    lines = [json.loads(line) for line in json_lines(run).splitlines()]
    kinds = [line["kind"] for line in lines]
    sides = 3
    assert kinds == ["run", *["target"] * sides, *["result"] * 2, "confirmation", *["observation"] * sides, "end"]
    assert {line["schema"] for line in lines} == {2}
    assert lines[-1]["lines"] == len(lines) - 1
    document = json.loads(json_report(run))
    assert [line for line in lines if line["kind"] == "result"] == [
        {"schema": 2, "kind": "result", **result} for result in document["results"]
    ]


def test_a_summary_page_links_and_pings_nobody() -> None:
    assert cell("@all https://evil.example www.evil.example <b> `x` | [a](b)") == (
        r"&#64;all https&#58;//evil.example www&#46;evil.example \<b\> \`x\` \| \[a\](b)"
    )


def every_form(run: StoredRun, folder: Path) -> dict[str, str]:
    """The run in every form that there is, as text; but for Parquet, which is the tables of CSV again."""
    out = io.StringIO()
    show(run, out)
    forms = {"terminal": out.getvalue()}
    for name, form in FORMS.items():
        make = form.load()
        if form.option in (OptionKind.FILE, OptionKind.NOTHING):
            made = make(run)
            forms[name] = made if isinstance(made, str) else made.decode()
        elif form.option == OptionKind.FOLDER and name != "parquet":
            forms |= {path.name: path.read_text(encoding="utf-8") for path in make(run, folder)}
        elif form.option == OptionKind.PLACE:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{START}\n{END}\n{suites.START}\n{suites.END}\n")
            forms[name] = "".join(path.read_text(encoding="utf-8") for path in make(run, folder / name))
        elif form.option == OptionKind.CHECK:
            wrong = dict.fromkeys(result.check for result in run.all_results() if result.wrong)
            forms |= {f"{name} {check}": make(run, check) for check in wrong}
    return forms


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.scripts += tag == "script"
        assert not [name for name, _ in attributes if name.startswith("on")]


def harmless(forms: dict[str, str], tags: set[str]) -> None:
    """What must hold of every form whatever a guest said."""
    for name, text in forms.items():
        assert not CONTROL.search(text), name
        assert len(text) < 3_000_000, name
    page = Tags(forms["html"])
    assert page.seen <= tags and page.scripts == 1
    ElementTree.fromstring(forms["junit"])
    assert JUnitXml.fromstring(forms["junit"]).tests >= 1
    json.loads(forms["json"])
    assert all(json.loads(line)["schema"] == 2 for line in forms["jsonl"].splitlines())
    results = [line for line in forms["ktap"].splitlines() if not line.lstrip().startswith(("#", "KTAP", "1.."))]
    assert all(re.match(r" *(not )?ok \d+ ", line) for line in results)
    for name in ("summary", "catalogue", "findings"):
        text = "".join(line for line in forms[name].splitlines(True) if not line.startswith("    "))
        for ours in (START, END, suites.START, suites.END, "<br>"):
            text = text.replace(ours, "")
        assert not re.search(r"(?<!\\)<", text)


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The elements of an honest page, with all that a page can have."""
    run = sample.write_run(tmp_path_factory.mktemp("honest"))
    RunWriter(run.folder, run.meta).add_confirmations(sample.CASE, sample.CONFIRMED)
    return Tags(html_report(run)).seen


def test_the_worst_that_a_run_may_hold(tmp_path: Path, tags: set[str]) -> None:
    harmless(every_form(hostile_run(tmp_path), tmp_path / "csv"), tags)


def test_a_run_of_schema_1_in_every_form(tmp_path: Path, tags: set[str]) -> None:
    forms = every_form(StoredRun.open(SCHEMA_1), tmp_path / "csv")
    harmless(forms, tags)
    for name in ("terminal", "html", "json", "junit", "ktap", "catalogue", "summary", "results.csv"):
        assert "P-09/wp" in forms[name], name


def test_no_name_of_a_stored_run_gets_out_of_the_catalogue(tmp_path: Path) -> None:
    """Results are files too: whatever their checks, targets and links are called, a row stays one row."""
    run = sample.write_run(tmp_path)
    evil = "`x` |<script>\n[a](https://x) https://evil.example"
    known = KnownDivergence(
        check="k", verdict=Verdict.SUBJECT_WRONG, reason=evil, link=f"https://x) {evil}", pattern="p"
    )
    named = Names(target=evil, implementation=evil)
    told = sample.result(
        Verdict.SUBJECT_WRONG, case=sample.CASE, check=evil, statuses="PASS FAIL", subject=named, known=known
    )
    RunWriter(run.folder, run.meta).add_results(sample.CASE, [told])
    text = catalogue([run])
    for ours in (START, END, suites.START, suites.END, "<br>"):
        text = text.replace(ours, "")
    assert not re.search(r"(?<!\\)<|(?<!\\)\[a|https://evil", text)
    for columns in (5, 3):  # the summary, then every fault
        rows = text.partition("\n" + "|---" * columns + "|\n")[2].partition("\n\n")[0].splitlines()
        assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [columns + 1], rows


PIECES = [
    *(
        b"\x1b[31m",
        b"\x1b]0;x\x07",
        b"\0",
        b"]]>",
        b"<script>alert(1)</script>",
        b"[/red]",
        b"\xff\xfe",
        b"\x9b1m",
        b"\r",
        b"\n",
    ),
    *(b"#", b"A" * 1_000_000, b"difftest 1 check not-present FAIL ", b"difftest 1 start ", b"=1+1", b"x=0x1 ", b"``` "),
    *("\u202e\u2066\ufffe".encode(), b"difftest 1 cpu ia32_vmx_basic=0x1 ", b'reason="</td>" ', b"@all https://x |"),
]
pieces = st.sampled_from(PIECES)
serials = st.lists(st.one_of(pieces, st.binary(max_size=40)), max_size=12).map(b"".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=serials,
    right=serials,
    text=st.one_of(st.text(max_size=60), pieces.map(lambda piece: piece[:400].decode("latin-1"))),
)
def test_no_bytes_of_a_guest_get_out_of_any_form(
    tmp_path_factory: pytest.TempPathFactory, tags: set[str], left: bytes, right: bytes, text: str
) -> None:
    root = tmp_path_factory.mktemp("hostile")
    sides = [
        msgspec.structs.replace(
            side,
            serial=serial + side.serial,
            detail=text,
            logs={"kernel.log": serial, "bochsrc": serial},
            panics=[text],
            kernel_faults=[KernelFault(line=text, trace=[text], in_kvm=True)],
            identity={"kernel": text, text: text},
            commands=[[text]],
        )
        for side, serial in zip(sample.SIDES, (left, right, left), strict=True)
    ]
    known = [KnownDivergence(check="not-present", verdict=Verdict.SUBJECT_WRONG, reason=text or "r", link=text)]
    abouts = [*sample.ABOUTS, About(check="never", sdm=text, summary=text)]
    run = sample.write_run(root, *sides, abouts=abouts, manifest=msgspec.structs.replace(sample.MANIFEST, known=known))
    harmless(every_form(run, root / "csv"), tags)
