"""Reading the text screen twice: rows 20 and 21 by OCR from the real picture, and the same rows from text memory.

OCR is evidence beside text memory, never instead of it. Both must say the same, within what OCR is known to confuse.
"""

from __future__ import annotations

import difflib
import io
import struct
import zlib
from typing import TYPE_CHECKING

from difftest.reading.ocr import GreyImage, OcrError, OcrReading, read
from difftest.reading.screen_reading import VERDICT_ROWS, RowReading, ScreenReading
from emulators.observation import TEXT_COLUMNS, TEXT_ROWS, Observation
from emulators.text_screen import text_rows

if TYPE_CHECKING:
    from PIL import Image

OCR_ROWS = (20, 21)
ALIKE = 0.8  # least similarity, after folding confusable characters, at which two readings are taken to be one text
CELL_LINES = 16
CURSOR_LINES = 4  # the lowest of a cell, in which the cursor is; it has two of them
SCALE_AGAIN = 3
SCALE = 4  # tesseract wants letters of 30 pixels or more; a VGA cell has 16
MARGIN = 24

# Characters that OCR confuses on the VGA font, folded to one.
_FOLD = str.maketrans({**dict.fromkeys("oqd", "0"), **dict.fromkeys("il|!", "1"), "s": "5", "b": "8", "z": "2"})


def read_screen(observation: Observation, *, afresh: bool = False) -> ScreenReading:
    """Both readings of the rows that verdicts rest on. Blocks while tesseract works: call it in a thread.

    `afresh` is to have every strip of the picture read now, also one that was read before (see difftest.reading.ocr).
    """
    rows = text_rows(observation.text_memory)
    if not rows or observation.screen is None:
        return ScreenReading(rows={}, problem="no picture of the screen or no text memory was taken")
    try:
        found = ocr_rows(observation.screen, OCR_ROWS, afresh=afresh)
        if any(reading.cached and not alike(rows[row], reading.text) for row, reading in found.items()):
            found = ocr_rows(observation.screen, OCR_ROWS, afresh=True)  # what does not fit is not left to a memory
    except OcrError as error:
        unread = {row: RowReading(memory=rows[row], ocr=None, agree=False) for row in OCR_ROWS}
        return ScreenReading(rows=unread, text=rows, problem=str(error))
    readings = {
        row: RowReading(
            memory=rows[row],
            ocr=found[row].text if row in found else None,
            agree=row not in found or alike(rows[row], found[row].text),
            cached=row in found and found[row].cached,
        )
        for row in VERDICT_ROWS
    }
    wrong = [
        f"row {row}: OCR reads {reading.ocr!r}, text memory says {reading.memory!r}"
        for row, reading in readings.items()
        if not reading.agree
    ]
    return ScreenReading(rows=readings, text=rows, problem="; ".join(wrong))


def read_again(observation: Observation, first: ScreenReading) -> str:
    """Read the rows from the picture once more in another way: hard black and white, smaller, as one block of text.

    `first` is the first reading, and has rows. Nothing is taken from memory. What is wrong, or "". Blocks while
    tesseract works.
    """
    try:
        found = ocr_rows(observation.screen or b"", OCR_ROWS, again=True, afresh=True)
    except OcrError as error:
        return str(error)
    wrong = [
        f"row {row}: read again, OCR gives {reading.text!r}, text memory says {first.rows[row].memory!r}"
        for row, reading in found.items()
        if row in first.rows and not alike(first.rows[row].memory, reading.text)
    ]
    return "; ".join(wrong)


def ocr_rows(png: bytes, rows: tuple[int, ...], *, again: bool = False, afresh: bool = False) -> dict[int, OcrReading]:
    """What tesseract reads in these rows of an 80x25 text screen's picture. Blank rows cost nothing.

    Raises OcrError when the picture is no text screen, or tesseract fails.
    """
    from PIL import Image, ImageOps
    from PIL.PngImagePlugin import PngImageFile  # by itself: Image.open() loads what reads other formats

    try:
        file = PngImageFile(io.BytesIO(png))
        if file.width not in (720, 640) or file.height != TEXT_ROWS * CELL_LINES:
            raise OcrError(f"the screen shows {file.width}x{file.height} pixels, which is no 80x25 text mode")
        picture = file.convert("L")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise OcrError(f"the picture cannot be read: {error}") from error
    found: dict[int, OcrReading] = {}
    for row in rows:
        strip = picture.crop((0, row * CELL_LINES, picture.width, (row + 1) * CELL_LINES))
        _wipe_cursor(strip)
        low, high = strip.getextrema()
        if low == high:
            found[row] = OcrReading("", False)
            continue
        dark_on_light = ImageOps.autocontrast(ImageOps.invert(strip))
        ink = ImageOps.invert(dark_on_light).getbbox() or (0, 0, 1, CELL_LINES)
        word = dark_on_light.crop((ink[0], 0, ink[2], CELL_LINES))
        if again:
            word = word.point(lambda level: 255 if level > 127 else 0)
        scale, mode = (SCALE_AGAIN, "6") if again else (SCALE, "7")
        big = word.resize((word.width * scale, word.height * scale), Image.Resampling.LANCZOS)
        framed = ImageOps.expand(big, MARGIN, 255)
        found[row] = read(GreyImage(framed.width, framed.height, framed.tobytes()), mode, afresh=afresh)
    return found


def _wipe_cursor(strip: Image.Image) -> None:
    """Take the hardware cursor, which text memory does not have, off a row's strip. It is a bar below an empty cell: as
    wide as the cell, where an underscore is one line high.
    """
    low, high = strip.crop((0, CELL_LINES - CURSOR_LINES, strip.width, CELL_LINES)).getextrema()
    if low == high:  # nothing down there: neither a cursor nor the tail of a letter
        return
    width = strip.width // TEXT_COLUMNS
    for left in range(0, strip.width, width):
        cell = strip.crop((left, 0, left + width, CELL_LINES))
        lines = [cell.crop((0, line, width, line + 1)).getextrema() for line in range(CELL_LINES)]
        paper = lines[0]
        inked = [line for line in range(CELL_LINES) if lines[line] != paper]
        solid = all(low == high for low, high in lines)
        if len(inked) == 2 and inked[0] + 1 == inked[1] and inked[0] >= CELL_LINES - CURSOR_LINES and solid:
            strip.paste(paper[0], (left, 0, left + width, CELL_LINES))
            return


def alike(memory: str, ocr: str) -> bool:
    """Whether an OCR reading can be taken for the text in memory. Blank and not blank are never alike."""
    left, right = (_folded(text) for text in (memory, ocr))
    if not left or not right:
        return left == right
    return difflib.SequenceMatcher(None, left, right, autojunk=False).ratio() >= ALIKE


def _folded(text: str) -> str:
    return "".join(text.casefold().split()).translate(_FOLD)
