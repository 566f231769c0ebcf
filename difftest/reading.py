"""What was read from a text screen. Plain data, stored beside the observation."""

from __future__ import annotations

import msgspec


class RowReading(msgspec.Struct, frozen=True, kw_only=True):
    """One row, read twice. `ocr` is None where the row was not read from the picture."""

    memory: str
    ocr: str | None
    agree: bool


class ScreenReading(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that verdicts stand on by number, all 25 rows of text memory, and what is wrong with them, if anything."""

    rows: dict[int, RowReading] = {}
    text: list[str] = []
    problem: str = ""
