"""Which results of several boots are one test: each test gets an id that holds in all of them.

A name that all boots printed alike is that test. What is left over is looked at again, each time less exactly, and only
within one suite: with times, counts and addresses masked; with one number masked, or all, where that leaves one line in
each boot ("got vector 13" and "got vector 0" are one test with two outcomes); and in the order of the lines, by the
longest beginning that two have in common.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import msgspec

from difftest.case.manifest import IMAGE, OF_LOGS
from difftest.reading.suite import Line
from emulators.host.expression import Expression

MASK = "#"
LEAST_ALIKE = 0.5  # of the shorter name that two names must begin with alike to be one test
LEAST_LETTERS = 8  # that this beginning must have
MOST_LEFT = 400  # lines of a suite that are paired by their beginnings: it takes the square of them in time
MOST_NUMBERS = 6  # of a name that are masked one at a time, the last first

# Times, counts, addresses; not the small constants and register values by which the names of tests differ.
_VOLATILE = re.compile(
    r"\b0x[0-9a-f]{5,}\b|\b(?=[a-f]*\d)[0-9a-f]{8,16}\b|\b\d+\.\d+\b|\b\d{4,}\b"
    r"|\b\d+(?= ?(?:[nmu]?s|sec(?:ond)?s?|cycles?|ticks?|[kMG]?Hz|%)(?!\w))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)[0-9a-f]{4,16}\b|\b\d+(?:\.\d+)?\b", re.IGNORECASE)


class _Named(msgspec.Struct):
    """A line with the name that it goes by, and the occurrence of that name in its boot."""

    line: Line
    suite: str
    name: str
    times: int = 0
    paired: bool = False


def identified(boots: Sequence[Sequence[Line]], volatile: Sequence[str]) -> list[dict[str, Line]]:
    """The lines of each boot under ids that mean the same test in all of them; `volatile` are the case's own
    expressions for what varies in names. Raises ExpressionError.
    """
    own = [Expression(expression) for expression in volatile]
    named = [[_Named(line, line.suite, masked(line.name, own)) for line in lines] for lines in boots]
    exact, timeless = (lambda one: one.name), (lambda one: _VOLATILE.sub(MASK, one.name))
    for least in dict.fromkeys((len(boots), 2)):  # what all boots have, before what only some have
        _pair(named, exact, least)
        _pair(named, timeless, least)
        for place in range(1, MOST_NUMBERS + 1):
            _pair(named, functools.partial(_without, place), least, unique=True)
        _pair(named, lambda one: _NUMBER.sub(MASK, one.name), least, unique=True)
    _pair_beginnings(named)
    result = []
    for lines in named:
        ids: dict[str, Line] = {}
        times: Counter[str] = Counter()
        for one in lines:
            shown = one.name if one.paired else _VOLATILE.sub(MASK, one.name)
            name = f"{one.suite}/{shown}" if one.suite else f"line {shown}" if shown in (IMAGE, *OF_LOGS) else shown
            times[name] += 1
            ids[f"{name} ({times[name]})" if times[name] > 1 else name] = one.line
        result.append(ids)
    return result


def masked(text: str, expressions: Sequence[Expression]) -> str:
    """The text with what varies from boot to boot replaced by a mark. Raises ExpressionError."""
    for expression in expressions:
        text = expression.masked(text)
    return text


def _pair(boots: Sequence[Sequence[_Named]], key: Callable[[_Named], str], least: int, *, unique: bool = False) -> None:
    """Take as one test what has the same key in at least so many boots, as many of them as each has, in order; with
    `unique` only where no boot has several. The key, where it is not "", becomes the name of all.
    """
    found: defaultdict[tuple[str, str], list[list[_Named]]] = defaultdict(list)
    for lines in boots:
        groups: defaultdict[tuple[str, str], list[_Named]] = defaultdict(list)
        for one in lines:
            if not one.paired and (name := key(one)):
                groups[one.suite, name].append(one)
        for where, group in groups.items():
            found[where].append(group)
    for (_, name), rows in found.items():
        if len(rows) >= least and not (unique and any(len(row) > 1 for row in rows)):
            for lines in zip(*rows, strict=False):
                _unite(lines, name)


def _without(place: int, one: _Named) -> str:
    """The name with one of its numbers masked, counted from its end; "" where it has not as many."""
    numbers = list(_NUMBER.finditer(one.name))
    if len(numbers) < place:
        return ""
    start, end = numbers[-place].span()
    return f"{one.name[:start]}{MASK}{one.name[end:]}"


def _pair_beginnings(boots: Sequence[Sequence[_Named]]) -> None:
    """Pair what is left in the first boot with what is left in each other, suite by suite, the most alike first, and
    never crosswise.
    """
    first, *others = boots or [[]]
    loose = [one for one in first if not one.paired]
    for other in others:
        for suite in dict.fromkeys(one.suite for one in loose):
            left = [one for one in loose if one.suite == suite]
            right = [one for one in other if one.suite == suite and not one.paired]
            if len(left) <= MOST_LEFT and len(right) <= MOST_LEFT:
                _align(left, right)


def _align(left: Sequence[_Named], right: Sequence[_Named]) -> None:
    alike = sorted(
        (
            (common, -abs(i - j), i, j)
            for i, one in enumerate(left)
            for j, other in enumerate(right)
            if (common := _common(one.line.name, other.line.name))
        ),
        reverse=True,
    )
    taken: list[tuple[int, int]] = []
    for _, _, i, j in alike:
        if all((i < a and j < b) or (i > a and j > b) for a, b in taken):
            taken.append((i, j))
            one, other = left[i], right[j]
            _unite([one, other], one.name if one.paired else f"{_beginning(one.line.name, other.line.name)} ...")


def _common(one: str, other: str) -> int:
    """The letters that two names begin with alike, where these are enough to say that they are one test, or 0."""
    length = len(_beginning(one, other))
    return length if length >= max(LEAST_LETTERS, LEAST_ALIKE * min(len(one), len(other))) else 0


def _beginning(one: str, other: str) -> str:
    """What two names begin with alike, up to the end of a word."""
    length = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if length is None:
        return one if len(one) < len(other) else other
    return one[:length].rpartition(" ")[0] or one[:length]


def _unite(lines: Sequence[_Named], name: str) -> None:
    for one in lines:
        one.name, one.paired = name, True
