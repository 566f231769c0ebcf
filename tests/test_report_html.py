from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from difftest.case.manifest import About, KnownDivergence
from difftest.reading.boot_reading import BootRecord
from difftest.report.html import SCRIPT, html_report
from difftest.report.linediff import line_diff
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Verdict
from emulators.observation import KernelFault
from tests import sample_run as sample


class Page(HTMLParser):
    """What a browser would see of a page: its elements, and its text by the element that it is in."""

    VOID = frozenset({"meta", "img", "br", "col", "link", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def every(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for element, attributes in self.elements if element == tag and name in attributes]

    @property
    def shape(self) -> set[tuple[str, tuple[str, ...]]]:
        return {(tag, tuple(sorted(attributes))) for tag, attributes in self.elements}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(html_report(sample.write_run(tmp_path)))


def text(page: Page) -> str:
    return " ".join("".join(words for tag, words in page.texts if tag != "style").split())


def test_it_opens_with_the_answer(page: Page) -> None:
    assert [words for tag, words in page.texts if tag == "h1"] == ["KVM wrong in 1 of 2 checks"]
    assert "1 divergence (1 known)" in text(page)
    assert page.open == []


def test_nothing_is_loaded_and_one_script_of_ours_runs(page: Page) -> None:
    policy = next(
        value["content"] for tag, value in page.elements if value.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = (words for tag, words in page.texts if tag == "script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert script == SCRIPT.read_text(), "ours as it is in the file: nothing of a run is in it"
    assert not page.every("script", "src")
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "iframe", "object", "embed", "base", "svg", "audio", "video"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(str(source).startswith("data:image/png;base64,") for source in page.every("img", "src"))
    assert not re.search(r"url\(|@import", "".join(words for tag, words in page.texts if tag == "style"))


def test_the_pictures_of_all_sides_are_on_the_page_with_the_rows_marked(tmp_path: Path) -> None:
    page = Page(html_report(sample.write_run(tmp_path)))
    pictures = {base64.b64decode(str(source).partition(",")[2]) for source in page.every("img", "src")}
    assert pictures == {sample.GOOD.screen, sample.BAD.screen}, "the CPU under KVM shows what the reference shows"
    assert sum(1 for _, attributes in page.elements if attributes.get("class") == "marked") == len(sample.SIDES)


@pytest.mark.parametrize(("size", "marked"), [((720, 400), 3), ((640, 400), 3), ((640, 480), 0)])
def test_rows_are_marked_only_on_a_text_screen(tmp_path: Path, size: tuple[int, int], marked: int) -> None:
    sides = [msgspec.structs.replace(side, screen=sample.picture({20: "BAD"}, size)) for side in sample.SIDES]
    page = Page(html_report(sample.write_run(tmp_path, *sides)))
    assert sum(1 for _, attributes in page.elements if attributes.get("class") == "marked") == marked
    assert page.every("img", "src")


@pytest.mark.parametrize(
    "png", [None, b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\xff" * 30]
)
def test_what_is_no_picture_is_not_put_on_the_page(tmp_path: Path, png: bytes | None) -> None:
    sides = [msgspec.structs.replace(side, screen=png) for side in sample.SIDES]
    page = Page(html_report(sample.write_run(tmp_path, *sides)))
    assert page.every("img", "src") == []
    assert "No picture was taken." in text(page)


def test_what_a_finding_says(page: Page) -> None:
    words = text(page)
    for part in (
        "For exit_reason the SDM requires 0x30 (48, EPT violation): Bochs gave that, Bochs under KVM gave that, KVM "
        "gave 0x0 (0, exception or NMI).",
        "bochs PASS host-cpu PASS kvm-hosted FAIL",
        "Intel SDM: PDPTE Registers (Vol. 3, 4.4.1); EPT Violations (Vol. 3, 29.3.3.2)",
        "difftest run ept-pdpte-load -k not-present --target kvm-hosted",
        "bochs-bin -q -f bochsrc -rc 'commands of difftest'",
        "Serial port: 2 lines differ",
        "kvm: VMX enabled",
        "exit_qualification not compared",
    ):
        assert part in words
    assert "https://bugzilla.example/1" in page.every("a", "href")
    anchors = {str(target).removeprefix("#") for target in page.every("a", "href") if str(target).startswith("#")}
    assert anchors and anchors <= {str(value["id"]) for _, value in page.elements if "id" in value}


def test_the_same_serial_bytes_are_said_to_be_the_same(tmp_path: Path) -> None:
    right = msgspec.structs.replace(sample.BAD, serial=sample.GOOD.serial)
    words = text(Page(html_report(sample.write_run(tmp_path, right=right))))
    assert "Serial port: the same on both sides" in words


def test_a_new_divergence_and_a_known_one_look_different(tmp_path: Path) -> None:
    known = Page(html_report(sample.write_run(tmp_path / "known")))
    unknown = msgspec.structs.replace(sample.MANIFEST, known=[])
    new = Page(html_report(sample.write_run(tmp_path / "new", manifest=unknown)))
    assert known.every("header", "class") == ["answer known"]
    assert new.every("header", "class") == ["answer bad"]
    assert "1 divergence (1 new)" in text(new)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "//evil.example", " https://x", ""])
def test_only_a_web_address_becomes_a_link(tmp_path: Path, link: str) -> None:
    known = KnownDivergence(check="not-present", verdict=Verdict.SUBJECT_WRONG, reason="r", link=link)
    manifest = msgspec.structs.replace(sample.MANIFEST, known=[known])
    page = Page(html_report(sample.write_run(tmp_path, manifest=manifest)))
    assert all(str(target).startswith("#") for target in page.every("a", "href"))


def test_many_agreeing_cases_do_not_make_the_page_huge(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    writer = RunWriter(run.folder, run.meta)
    agreed = [result for result in run.all_results() if result.verdict == Verdict.AGREE]
    for number in range(60):
        name = f"case-{number}"
        writer.add_case(sample.snapshot(name), tmp_path / "disk.img")
        for side in sample.SIDES:
            writer.add_observation(name, BootRecord(), side)
        writer.add_results(name, [msgspec.structs.replace(one, case=name) for one in agreed])
    page = Page(html_report(StoredRun.open(run.folder)))
    assert len(page.every("img", "src")) == 2 * len(sample.SIDES)
    assert "60 cases on which both sides agree" in text(page)


HOSTILE = (
    "\x1b]0;title\x07\x1b[31m\0]]></style><script>alert(1)</script>[/red][bold]{{ 7*7 }}{% raw %}\u202e"
    "\"'><img src=x onerror=alert(1)>\ud800\ufffe&lt;"
)
BYTES = HOSTILE.encode("utf-8", "surrogatepass") + b"\xff\xfe\x9b31m"


def hostile_run(root: Path) -> StoredRun:
    """Everything that a guest, an emulator or a manifest may write, at its worst."""
    line = BYTES.replace(b"\n", b"") + b"A" * 1_000_000
    words = {0: HOSTILE, 20: HOSTILE, 21: HOSTILE}
    text = HOSTILE
    sides = [
        msgspec.structs.replace(
            side,
            identity={text: text, "kernel": text + str(number)},
            detail=text,
            serial=(line + b"\n") * (number + 1) + side.serial,
            registers={text: text},
            logs={text: BYTES, "kernel.log": line},
            alarms=[text],
            panics=[text],
            kernel_faults=[
                KernelFault(line=line, trace=[text, text], in_kvm=in_kvm)
                for line, in_kvm in ((text, True), ("x" * 100_000, False))
            ],
            seconds={text: 1.0},
            counters={text: 1.0},
            commands=[[text, "; rm -rf /"]],
        )
        for number, side in enumerate(sample.SIDES)
    ]
    known = KnownDivergence(check="not-present", verdict=Verdict.SUBJECT_WRONG, reason=text, link="https://" + text)
    case = msgspec.structs.replace(sample.snapshot(), name=text, title=text, manifest=text, argument=text)
    return sample.write_run(
        root,
        *sides,
        abouts=[About(check="not-present", sdm=text, summary=text), About(check="never/<b>", sdm=text, summary=text)],
        manifest=msgspec.structs.replace(sample.MANIFEST, name=text, title=text, known=[known]),
        case=case,
        words=(words, words),
    )


def test_no_element_of_the_page_is_the_guests(tmp_path: Path, page: Page) -> None:
    source = html_report(hostile_run(tmp_path / "hostile"))
    hostile = Page(source)
    assert hostile.open == []
    extra = hostile.shape - page.shape
    assert extra <= {("p", ("class",)), ("details", ("class",))}
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in page.elements}
    assert "<script>alert(1)</script>" in text(hostile)  # as text, nowhere else
    assert "{{ 7*7 }}" in source
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff\ufffe]", source)
    assert len(source) < 2_000_000


def test_hostile_text_leaves_the_terminal_and_json_alone(tmp_path: Path) -> None:
    import io
    import json

    from difftest.report.json import json_report
    from difftest.report.terminal import show

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run = hostile_run(tmp_path)
    control = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff\ufffe]")
    piped, terminal = io.StringIO(), Terminal()
    show(run, piped)
    show(run, terminal, width=100)
    assert "[/red][bold]" in piped.getvalue()
    assert not control.search(piped.getvalue())
    assert not control.search(re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()))
    assert len(piped.getvalue()) < 200_000

    document = json_report(run)
    json.loads(document)
    assert not control.search(document.decode())
    assert b"\\u001b" not in document and b"\\u0000" not in document


class TestLineDiff:
    def shown(self, left: bytes, right: bytes) -> list[tuple[str | None, str | None, bool]]:
        def words(pieces: object) -> str | None:
            return None if pieces is None else "".join(piece.text for piece in pieces)  # type: ignore[attr-defined]

        return [(words(row.left), words(row.right), row.differs) for row in line_diff(left, right) if not row.note]

    def test_equal(self) -> None:
        assert self.shown(b"a\nb\n", b"a\nb\n") == [("a", "a", False), ("b", "b", False)]
        assert line_diff(b"", b"") == []

    def test_a_side_that_says_more_hides_nothing(self) -> None:
        assert self.shown(b"a\nx\n", b"a\ny\nz\n") == [("a", "a", False), ("x", "y", True), (None, "z", True)]
        assert self.shown(b"", b"y\n") == [(None, "y", True)]

    def test_a_missing_newline_and_a_carriage_return_are_seen(self) -> None:
        assert self.shown(b"a\n", b"a") == [("a", "a (no newline)", True)]
        assert self.shown(b"a\r\n", b"a\n") == [("a\\x0d", "a", True)]

    def test_what_differs_inside_a_line_is_marked(self) -> None:
        (row,) = line_diff(b"check x PASS reason=0x30\n", b"check x FAIL reason=0x0\n")
        assert [piece.text for piece in row.left or [] if piece.marked] == ["PASS", "0x30"]
        assert [piece.text for piece in row.right or [] if piece.marked] == ["FAIL", "0x0"]

    def test_numbers_are_those_of_the_transcripts(self) -> None:
        rows = line_diff(b"a\nb\nc\n", b"x\ny\na\nb\nc\n")
        assert [(row.left_number, row.right_number) for row in rows] == [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5)]

    def test_long_equal_stretches_are_folded(self) -> None:
        rows = line_diff(b"same\n" * 100_000 + b"a\n", b"same\n" * 100_000 + b"b\n")
        assert len(rows) < 40
        assert [row.note for row in rows if row.note] == ["99976 equal lines"]
        assert (rows[-1].left_number, rows[-1].differs) == (100_001, True)

    def test_a_flood_is_cheap_and_both_ends_are_kept(self) -> None:
        left = b"".join(b"%d a\n" % number for number in range(100_000)) + b"end a\n"
        right = b"".join(b"%d b\n" % number for number in range(50_000)) + b"end b\n"
        rows = line_diff(left, right)
        assert len(rows) < 900
        assert "".join(piece.text for piece in rows[-1].left or []) == "end a"
        assert "".join(piece.text for piece in rows[-1].right or []) == "end b"
        assert any("not compared" in row.note for row in rows)
