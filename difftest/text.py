"""The one door that turns guest bytes into text.

What comes out is safe in a terminal and legal in XML; HTML and XML still escape `<` and `&` as they do for any text.
"""

from __future__ import annotations

import unicodedata

LIMIT = 4096  # characters

# Letters of right-to-left scripts and all that steers direction: they reorder what is beside them.
_BIDIRECTIONAL = {"R", "AL", "AN", "RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI", "BN"}


def visible(data: bytes | str, limit: int = LIMIT, *, lines: bool = False) -> str:
    r"""Guest bytes as harmless text of at most about `limit` characters.

    Control characters, what changes the direction of writing, what sits on its neighbour and everything that has no
    glyph become escapes such as `\x1b`; bytes that are not UTF-8 too. Newlines stay when `lines` is set. Of what is cut
    off, the whole length is given. A backslash stays a backslash, so text that went through here before is not changed
    again.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    # Four bytes is the longest character: what comes after the first 4 * limit bytes could never be shown.
    head = data[: limit * 4]
    text = head.decode("utf-8", "backslashreplace")
    plain = text.isascii() and text.isprintable()  # as nearly all of it is
    shown = text[: limit + 1] if plain else "".join(_shown(character, lines) for character in text[: limit + 1])
    if len(shown) <= limit and len(head) == len(data):
        return shown
    return f"{shown[:limit]}... ({len(data)} bytes in all)"


def _shown(character: str, lines: bool) -> str:
    if " " <= character < "\x7f" or (lines and character == "\n"):
        return character
    # Categories: C* are controls, formats, surrogates, private and unassigned; Z* other than the plain space are
    # separators that terminals treat in their own ways; M* are drawn over the character before them.
    harmless = (
        unicodedata.category(character)[0] not in "CZM" and unicodedata.bidirectional(character) not in _BIDIRECTIONAL
    )
    if harmless:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
