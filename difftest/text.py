"""The one door that turns guest bytes into text.

What comes out is safe in a terminal and legal in XML; HTML and XML still escape `<` and `&` as they do for any text.
"""

from __future__ import annotations

import unicodedata

LIMIT = 4096  # characters


def visible(data: bytes | str, limit: int = LIMIT, *, lines: bool = False) -> str:
    r"""Guest bytes as harmless text of at most about `limit` characters.

    Control characters, bidirectional overrides and everything that has no glyph become escapes such as `\x1b`; bytes that are
    not UTF-8 too. Newlines stay when `lines` is set. What is cut off is counted.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    # Four bytes is the longest character: reading more of the input than that could never be shown.
    head = data[: limit * 4]
    text = head.decode("utf-8", "backslashreplace")
    shown = "".join(_shown(character, lines) for character in text[: limit + 1])
    if len(shown) <= limit and len(head) == len(data):
        return shown
    kept = shown[:limit]
    return f"{kept}... ({len(data)} bytes in all)"


def _shown(character: str, lines: bool) -> str:
    if character == "\n" and lines:
        return character
    # Categories: C* are controls, formats (bidi overrides), surrogates, private and unassigned; Z* other than the plain
    # space are separators that terminals treat in their own ways.
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
