from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftest.text import visible


def harmless(text: str) -> bool:
    """Legal in XML 1.0, no controls, nothing that changes direction."""
    return all(
        (" " <= character <= "\ud7ff" or "\ue000" <= character <= "\ufffd" or character >= "\U00010000")
        and unicodedata.category(character)[0] != "C"
        and unicodedata.bidirectional(character) not in ("R", "AL", "RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI")
        for character in text
    )


@given(st.binary(max_size=400), st.integers(1, 200))
def test_any_bytes_become_harmless_text(data: bytes, limit: int) -> None:
    shown = visible(data, limit)
    assert harmless(shown)
    assert len(shown) <= limit + len(f"... ({len(data)} bytes in all)")


@given(st.text(st.characters(), max_size=200))
def test_any_text_becomes_harmless_and_stays_as_it_is_the_second_time(text: str) -> None:
    once = visible(text)
    assert harmless(once)
    assert visible(once) == once


@given(st.binary(max_size=400))
def test_lines_are_kept_only_when_asked(data: bytes) -> None:
    assert visible(data, lines=True).count("\n") == data.count(b"\n")
    assert "\n" not in visible(data)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain words", "plain words"),
        (b"\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("snow \u2603", "snow \u2603"),
        ("\u202eabc", "\\u202eabc"),
        ("\u05d0", "\\u05d0"),
        ("\x9b1m", "\\x9b1m"),
        ("a\u0301", "a\\u0301"),
        ("\ud800", "\\xed\\xa0\\x80"),
        ("\ufffe", "\\ufffe"),
        ("a\u2028b\r\n", "a\\u2028b\\x0d\\x0a"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_shown(data: bytes | str, shown: str) -> None:
    assert visible(data) == shown


def test_a_long_line_is_cut_and_says_so() -> None:
    assert visible(b"x" * 1_000_000, 10) == "xxxxxxxxxx... (1000000 bytes in all)"
    assert visible(b"x" * 10, 10) == "xxxxxxxxxx"
    assert visible(b"x" * 11, 10) == "xxxxxxxxxx... (11 bytes in all)"
