"""Reading screens: both readings, and that a disagreement between them is seen."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from difftest.reading.ocr import OcrReading
from difftest.reading.screen import alike, ocr_rows, read_screen, text_rows
from emulators.fake import observation
from emulators.observation import TEXT_BYTES, TEXT_COLUMNS


@pytest.fixture(autouse=True)
def nothing_read_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def memory_with(rows: dict[int, str]) -> bytes:
    memory = bytearray(b" \x07" * (TEXT_BYTES // 2))
    for row, text in rows.items():
        for column, character in enumerate(text.encode("cp437")):
            memory[(row * TEXT_COLUMNS + column) * 2] = character
    return bytes(memory)


def picture_of(bars: dict[int, tuple[int, int, int]]) -> bytes:
    """A picture with solid bars: row to column, first line in the row and number of lines."""
    picture = Image.new("RGB", (720, 400))
    for row, (column, line, height) in bars.items():
        picture.paste((168, 168, 168), (column * 9, row * 16 + line, column * 9 + 9, row * 16 + line + height))
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def picture_with(rows: dict[int, str], size: tuple[int, int] = (720, 400)) -> bytes:
    picture = Image.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    for row, text in rows.items():
        draw.text((0, row * 16 + 1), text, fill=(168, 168, 168), font=ImageFont.load_default(13))
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def test_both_readings_agree() -> None:
    seen = observation("bochs", b"", screen=picture_with({21: "GOOD"}), text_memory=memory_with({21: "GOOD"}))
    reading = read_screen(seen)
    assert reading.problem == ""
    assert (reading.rows[21].memory, reading.rows[21].ocr) == ("GOOD", "GOOD")
    assert (reading.rows[20].memory, reading.rows[20].ocr) == ("", "")


@pytest.mark.parametrize(("shown", "held"), [("GOOD", "BAD"), ("", "BAD"), ("BAD", "")])
def test_a_picture_that_says_otherwise_is_told(shown: str, held: str) -> None:
    seen = observation("kvm", b"", screen=picture_with({20: shown}), text_memory=memory_with({20: held}))
    reading = read_screen(seen)
    assert not reading.rows[20].agree
    assert "row 20" in reading.problem


def test_a_graphics_screen_is_no_text_screen() -> None:
    seen = observation("kvm", b"", screen=picture_with({}, (640, 480)), text_memory=memory_with({}))
    assert "no 80x25 text mode" in read_screen(seen).problem
    broken = observation("kvm", b"", screen=b"\x89PNG broken", text_memory=memory_with({}))
    assert "cannot be read" in read_screen(broken).problem


def test_no_screen_is_a_problem_and_no_blank_screen() -> None:
    assert read_screen(observation("kvm", b"")).problem


def test_text_memory_is_code_page_437_without_controls() -> None:
    rows = text_rows(memory_with({0: "\xe9\x00a"}))
    assert rows[0] == "\xe9 a"
    assert text_rows(b"short") == []


def test_confusable_characters_fold_and_words_do_not() -> None:
    assert alike("0x1O5", "Oxl05")
    assert not alike("GOOD", "BAD")
    assert not alike("PASS", "FAIL")


@pytest.mark.parametrize("line", [12, 13, 14])
def test_the_cursor_is_no_text(line: int) -> None:
    shown = observation("x", b"", screen=picture_of({20: (0, line, 2), 21: (79, line, 2)}), text_memory=memory_with({}))
    reading = read_screen(shown)
    assert reading.problem == "" and (reading.rows[20].ocr, reading.rows[21].ocr) == ("", "")


@pytest.mark.parametrize("bar", [(0, 2, 2), (0, 12, 4), (0, 13, 1)], ids=["above", "block", "underscore"])
def test_what_is_no_cursor_is_read(bar: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difftest.reading.screen.read", lambda *_, **__: OcrReading("something", False))
    reading = read_screen(observation("x", b"", screen=picture_of({20: bar}), text_memory=memory_with({})))
    assert "row 20" in reading.problem


def test_a_cursor_behind_text_does_not_hide_it() -> None:
    words = Image.open(io.BytesIO(picture_with({20: "prompt>"})))
    plain = ocr_rows(picture_with({20: "prompt>"}), (20,))[20]
    words.paste((168, 168, 168), (9 * 9, 20 * 16 + 13, 10 * 9, 20 * 16 + 15))
    png = io.BytesIO()
    words.save(png, "PNG")
    assert ocr_rows(png.getvalue(), (20,))[20].text == plain.text != ""
