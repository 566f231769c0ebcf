"""The kernel's trace ring buffer, as its raw pages come out of tracefs' `trace_pipe_raw`: events out of bytes.

The layout is the kernel's (events/header_page, events/header_event, and events/*/*/format in tracefs): a page of 4096
bytes has a timestamp, the number of bytes that it holds, and events, each after 32 bits with its length and the time
since the one before.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

import msgspec

from emulators.host.errors import EmulatorError

PAGE = 4096
HEADER = struct.Struct("<QQ")  # timestamp; bytes of events, and flags
HELD = (1 << 20) - 1  # of the second word: the bytes that the page holds
LOST = 3 << 30  # of the second word: events before this page were lost
TYPE_BITS, LENGTH_FOLLOWS, MOST_WORDS, PADDING = 5, 0, 28, 29  # types between are a length in words; above is the time
MOST_FIELDS = 64
_ID = re.compile(r"^ID: (\d{1,5})$", re.MULTILINE)
_TEXT = re.compile(r"^\s*field:__data_loc char\[\] (\w+);\s*offset:(\d{1,4});\s*size:4;", re.MULTILINE)
_FIELD = re.compile(r"^\s*field:[^;]*?(\w+)(?:\[\d+\])?;\s*offset:(\d{1,4});\s*size:([1248]);", re.MULTILINE)


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """What an event's bytes mean: its name, and offset and size in bytes of each of its fields that is a number."""

    name: str
    fields: dict[str, tuple[int, int]]
    texts: dict[
        str, int
    ] = {}  # offsets of the words that say where a text is: its offset, and above 16 bits its length


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. All its numbers are unsigned."""

    name: str
    fields: dict[str, int]
    texts: dict[str, str] = {}


def format_of(name: str, text: str) -> tuple[int, Format]:
    """An event's number and format, from tracefs' description of it. Raises EmulatorError for a text that is none."""
    number, fields = _ID.search(text), _FIELD.findall(text)
    if number is None or not fields or len(fields) > MOST_FIELDS:
        raise EmulatorError(f"tracefs does not describe the event {name}")
    texts = {field: int(offset) for field, offset in _TEXT.findall(text)}
    places = {field: (int(offset), int(size)) for field, offset, size in fields if field not in texts}
    return int(number[1]), Format(name=name, fields=places, texts=texts)


def events(pages: bytes, formats: Mapping[int, Format]) -> Iterator[Event]:
    """The events of these formats in the order in which they happened. Raises EmulatorError for pages that are none."""
    if len(pages) % PAGE:
        raise _broken("a page that is not whole")
    for start in range(0, len(pages), PAGE):
        yield from _on_page(pages[start : start + PAGE], formats)


def lost(pages: bytes) -> bool:
    """Whether the kernel says that events between these pages were lost."""
    return any(HEADER.unpack_from(pages, start)[1] & LOST for start in range(0, len(pages) - HEADER.size, PAGE))


def _on_page(page: bytes, formats: Mapping[int, Format]) -> Iterator[Event]:
    at = HEADER.size
    end = at + (HEADER.unpack_from(page)[1] & HELD)
    if end > PAGE:
        raise _broken("more bytes than a page has")
    while at < end:
        kind = _word(page, at, end) & ((1 << TYPE_BITS) - 1)
        if kind == PADDING and not _word(page, at, end) >> TYPE_BITS:
            return  # nothing more on this page
        if kind in (LENGTH_FOLLOWS, PADDING):
            begin, length = at + 8, _word(page, at + 4, end) - 4
        elif kind <= MOST_WORDS:
            begin, length = at + 4, kind * 4
        else:
            begin, length = at + 8, 0  # the time
        at = begin + length
        if length < 0 or at > end:
            raise _broken("an event of no possible length")
        if kind <= MOST_WORDS and length >= 2:
            data = page[begin:at]
            if format := formats.get(int.from_bytes(data[:2], "little")):
                yield _event(format, data)


def _event(format: Format, data: bytes) -> Event:
    fields = {
        name: int.from_bytes(data[offset : offset + size], "little")
        for name, (offset, size) in format.fields.items()
        if offset + size <= len(data)
    }
    return Event(name=format.name, fields=fields, texts={name: _text(data, at) for name, at in format.texts.items()})


def _text(data: bytes, at: int) -> str:
    where = int.from_bytes(data[at : at + 4], "little")
    return data[where & 0xFFFF :][: where >> 16].partition(b"\0")[0].decode("ascii", "replace")


def _word(page: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise _broken("an event that is not whole")
    return int.from_bytes(page[at : at + 4], "little")


def _broken(why: str) -> EmulatorError:
    return EmulatorError("the trace of KVM's exits cannot be read", evidence=why)
