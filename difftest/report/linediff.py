"""Two serial transcripts line by line: what is the same, what differs, and where inside a line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from difftest.text import visible

MOST_LINES = 400  # lines of a side that are compared; comparing is quadratic and the guest chooses the lines
TAIL_LINES = 40  # how many of them come from the end, where the verdict is
LONGEST_LINE = 2000
MOST_TOKENS = 300
FOLD = 12  # equal lines that stay at each end of a long run of equal lines
MISSING_NEWLINE = b" (no newline)"


class Piece(msgspec.Struct, frozen=True):
    """Part of a line, safe to show; `marked` where the other side has something else."""

    text: str
    marked: bool = False


class DiffRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of both sides; None where a side has none. A row with a note is in place of lines that are not shown."""

    left: list[Piece] | None = None
    right: list[Piece] | None = None
    left_number: int = 0  # from 1
    right_number: int = 0
    differs: bool = False
    note: str = ""


def line_diff(left: bytes, right: bytes) -> list[DiffRow]:
    """All rows, equal ones folded. Cheap for any input: what is compared and what is shown are both capped."""
    lefts, rights = _lines(left), _lines(right)
    head = _common(lefts, rights)
    tail = _common(lefts[head:][::-1], rights[head:][::-1])
    end = len(lefts) - tail, len(rights) - tail
    return [
        *_same(lefts[:head], 0, 0),
        *_middle(lefts[head : end[0]], rights[head : end[1]], head, head),
        *_same(lefts[end[0] :], *end),
    ]


def _middle(lefts: Sequence[bytes], rights: Sequence[bytes], left_at: int, right_at: int) -> Iterator[DiffRow]:
    if max(len(lefts), len(rights)) <= MOST_LINES:
        yield from _matched(lefts, rights, left_at, right_at)
        return
    first = MOST_LINES - TAIL_LINES
    yield from _matched(lefts[:first], rights[:first], left_at, right_at)
    starts = [max(first, len(lines) - TAIL_LINES) for lines in (lefts, rights)]
    left_out, right_out = max(0, starts[0] - first), max(0, starts[1] - first)
    if left_out or right_out:
        yield DiffRow(note=f"{left_out} and {right_out} lines not compared", differs=True)
    yield from _matched(lefts[starts[0] :], rights[starts[1] :], left_at + starts[0], right_at + starts[1])


def _matched(lefts: Sequence[bytes], rights: Sequence[bytes], left_at: int, right_at: int) -> Iterator[DiffRow]:
    matcher = difflib.SequenceMatcher(None, lefts, rights, autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            yield from _same(lefts[i1:i2], left_at + i1, right_at + j1)
            continue
        # zip_longest: a side that is shorter must not hide what the other one has more.
        for offset, (one, other) in enumerate(zip_longest(lefts[i1:i2], rights[j1:j2])):
            left, right = _pieces(one, other)
            yield DiffRow(
                left=left,
                right=right,
                left_number=left_at + i1 + offset + 1 if left is not None else 0,
                right_number=right_at + j1 + offset + 1 if right is not None else 0,
                differs=True,
            )


def _same(lines: Sequence[bytes], left_at: int, right_at: int) -> Iterator[DiffRow]:
    """Equal lines, the middle of a long run folded."""
    for index, line in enumerate(lines):
        if len(lines) > 2 * FOLD + 1 and FOLD <= index < len(lines) - FOLD:
            if index == FOLD:
                yield DiffRow(note=f"{len(lines) - 2 * FOLD} equal lines")
            continue
        pieces = [Piece(_shown(line.removesuffix(b"\n").removesuffix(b"\r")))]
        yield DiffRow(left=pieces, right=pieces, left_number=left_at + index + 1, right_number=right_at + index + 1)


def _pieces(left: bytes | None, right: bytes | None) -> tuple[list[Piece] | None, list[Piece] | None]:
    """Both lines in pieces, word by word; a line without a partner is marked as a whole."""
    if left is None or right is None:
        return _whole(left), _whole(right)
    lefts, rights = _tokens(left), _tokens(right)
    if max(len(lefts), len(rights)) > MOST_TOKENS or max(len(left), len(right)) > LONGEST_LINE:
        return _whole(left), _whole(right)
    pieces: tuple[list[Piece], list[Piece]] = [], []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, lefts, rights, autojunk=False).get_opcodes():
        for side, words in zip(pieces, (lefts[i1:i2], rights[j1:j2]), strict=True):
            if words:
                side.append(Piece(_shown(b"".join(words)), kind != "equal"))
    return pieces


def _whole(line: bytes | None) -> list[Piece] | None:
    return None if line is None else [Piece(_shown(line), True)]


def _lines(data: bytes) -> list[bytes]:
    """Lines with their newline: a last line without one differs from one with it."""
    return [line if line.endswith(b"\n") else line + MISSING_NEWLINE for line in re.findall(rb"[^\n]*\n|[^\n]+", data)]


def _tokens(line: bytes) -> list[bytes]:
    return re.findall(rb"\s+|[^\s=]+=?|=", line.removesuffix(b"\n"))


def _shown(line: bytes) -> str:
    return visible(line.removesuffix(b"\n"), LONGEST_LINE)


def _common(lefts: Sequence[bytes], rights: Sequence[bytes]) -> int:
    """How many lines at the start are the same."""
    for index, (left, right) in enumerate(zip(lefts, rights, strict=False)):
        if left != right:
            return index
    return min(len(lefts), len(rights))
