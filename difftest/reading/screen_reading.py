"""What was read from a text screen. Plain data, stored beside the observation."""

from __future__ import annotations

import msgspec

VERDICT_ROWS = (20, 21, 22, 23)


class RowReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row, read twice. `ocr` is None where the row was not read from the picture. `cached` is whether tesseract had
    read it before, in a strip of the very same pixels, and was not asked again.
    """

    memory: str
    ocr: str | None
    agree: bool
    cached: bool = msgspec.field(default=False, name="kept")


class ScreenReading(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that verdicts rest on by number, all 25 rows of text memory, and what is wrong with them, if
    anything.
    """

    rows: dict[int, RowReading] = {}
    text: list[str] = []
    problem: str = ""
