"""What tesseract reads, and what is remembered of it: the same picture, read by the same program, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from difftest.reading import ocr
from difftest.reading.ocr import FOLDER, GreyImage, OcrError, OcrReading, read
from difftest.reading.screen import read_again, read_screen
from emulators.fake import observation
from tests.test_screen import memory_with, picture_with


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ocr._program.cache_clear()
    return tmp_path / "cache/difftest"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pictures that tesseract was really given."""
    pictures: list[bytes] = []
    real = ocr._tesseract

    def counted(picture: GreyImage, mode: str) -> str:
        pictures.append(picture.pixels)
        return real(picture, mode)

    monkeypatch.setattr(ocr, "_tesseract", counted)
    return pictures


def picture(text: str) -> GreyImage:
    image = Image.new("L", (600, 100), 255)
    ImageDraw.Draw(image).text((24, 20), text, fill=0, font=ImageFont.load_default(52))
    return GreyImage(image.width, image.height, image.tobytes())


def test_the_same_picture_is_read_once(asked: list[bytes]) -> None:
    assert [read(picture("GOOD"), "7") for _ in range(3)] == [
        OcrReading("GOOD", False),
        OcrReading("GOOD", True),
        OcrReading("GOOD", True),
    ]
    assert len(asked) == 1
    assert read(picture("GOOD"), "7", afresh=True) == OcrReading("GOOD", False)
    assert len(asked) == 2


def test_another_picture_another_way_or_another_program_is_read_anew(
    asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(picture("GOOD"), "7")
    one = picture("GOOD")
    other = one._replace(pixels=one.pixels[:-1] + b"\xfe")  # one pixel, one shade
    assert not read(other, "7").cached
    assert not read(one._replace(width=one.height, height=one.width), "7").cached, "the same bytes in another shape"
    assert not read(one, "6").cached
    monkeypatch.setattr(ocr, "_program", lambda program: "another")
    assert not read(one, "7").cached
    monkeypatch.setattr(ocr, "_program", lambda program: "")  # it is not known what would read
    assert [read(one, "7").cached for _ in range(2)] == [False, False]
    assert len(asked) == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"GOOD", b"BAD!")),
        lambda path: path.write_bytes(b'{"key":"","text":"BAD","check":""}'),
        lambda path: path.write_bytes(b"\xff" * 5000),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    ],
)
def test_a_damaged_reading_is_thrown_away(cache: Path, asked: list[bytes], damage: Callable[[Path], object]) -> None:
    read(picture("GOOD"), "7")
    (path,) = (cache / FOLDER).iterdir()
    damage(path)
    assert read(picture("GOOD"), "7") == OcrReading("GOOD", False)
    assert read(picture("GOOD"), "7") == OcrReading("GOOD", True)
    assert path.is_file() and not path.is_symlink()


def test_a_reading_of_another_picture_is_not_taken_for_this_ones(cache: Path, asked: list[bytes]) -> None:
    read(picture("BAD"), "7")
    (bad,) = (cache / FOLDER).iterdir()
    words = bad.read_bytes()
    bad.unlink()
    read(picture("GOOD"), "7")
    (good,) = (cache / FOLDER).iterdir()
    good.write_bytes(words)
    assert read(picture("GOOD"), "7") == OcrReading("GOOD", False)


def test_the_oldest_are_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MOST_READINGS", 4)
    monkeypatch.setattr(ocr, "READINGS_LEFT", 2)
    monkeypatch.setattr(ocr, "_tesseract", lambda picture, mode: "words")
    for shade in range(5):
        read(GreyImage(1, 1, bytes([shade])), "7")
    assert len(list((cache / FOLDER).iterdir())) == 2
    assert read(GreyImage(1, 1, b"\4"), "7").cached and not read(GreyImage(1, 1, b"\0"), "7").cached


def test_a_cache_that_takes_nothing_costs_no_reading(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file in the folder's place")
    assert [read(picture("GOOD"), "7").cached for _ in range(2)] == [False, False]


def test_tesseract_missing_or_failing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\necho no model >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(OcrError, match="no model"):
        read(picture("GOOD"), "7")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OcrError, match="not installed"):
        read(picture("GOOD"), "7")


def test_another_model_is_another_program(tmp_path: Path) -> None:
    before = ocr._program("/usr/bin/tesseract")
    assert len(before) == 64
    other = tmp_path / "tesseract"
    other.write_bytes(Path("/usr/bin/tesseract").read_bytes() + b"\0")
    other.chmod(0o755)
    assert ocr._program(str(other)) not in (before, "")


def test_screens_say_which_readings_were_kept(asked: list[bytes]) -> None:
    seen = observation("bochs", b"", screen=picture_with({21: "GOOD"}), text_memory=memory_with({21: "GOOD"}))
    first, second = read_screen(seen), read_screen(seen)
    assert [screen.rows[21].cached for screen in (first, second)] == [False, True]
    assert second.rows[21].ocr == "GOOD" and not second.rows[20].cached and not second.rows[22].cached
    assert not read_screen(seen, afresh=True).rows[21].cached
    taken = len(asked)
    assert read_again(seen, second) == "" and len(asked) == taken + 1, "a second reading is really one"


def test_a_kept_reading_that_does_not_fit_is_made_anew(asked: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = observation("bochs", b"", screen=picture_with({21: "GOOD"}), text_memory=memory_with({21: "GOOD"}))
    monkeypatch.setattr(ocr, "_cached_text", lambda path, key: "BAD")
    reading = read_screen(seen)
    assert (reading.rows[21].ocr, reading.rows[21].cached, reading.problem, len(asked)) == ("GOOD", False, "", 1)
