"""A run as KTAP, which the kernel's own tools read: a test for each case and subject, a subtest for each check.

The directives are KTAP's: XFAIL for a known divergence, SKIP for a missing capability, ERROR where there is no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator

from difftest.judging.result import Result
from difftest.report.digest import Pair, digest, standing
from difftest.report.words import reproduce
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict

LONGEST = 1000


def ktap(run: StoredRun) -> str:
    """The document. Raises StoreError for a run that cannot be read."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: StoredRun) -> Iterator[str]:
    pairs = digest(run).pairs
    yield "KTAP version 1"
    yield f"1..{len(pairs)}"
    for number, pair in enumerate(pairs, 1):
        yield "    KTAP version 1"
        yield f"    # Subtest: {_text(_name(pair))}"
        yield f"    1..{len(pair.results)}"
        for place, result in enumerate(pair.results, 1):
            for note in _notes(pair, result):
                yield f"    # {_text(note)}"
            yield f"    {_line(place, result)}"
        good = all(_good(result) for result in pair.results)
        yield f"{'ok' if good else 'not ok'} {number} {_text(_name(pair))}"


def _name(pair: Pair) -> str:
    return f"{pair.case.name} {pair.subject.names.target}"


def _good(result: Result) -> bool:
    return result.expected and MEANINGS[result.verdict].decided


def _line(place: int, result: Result) -> str:
    words = _text(f"{result.label}: {result.reason}")
    if not MEANINGS[result.verdict].decided:
        directive = f" # ERROR {words}"
    elif result.verdict == Verdict.SKIPPED:
        directive = f" # SKIP {words}"
    elif standing(result) == "known":
        directive = f" # XFAIL {words}"
    else:
        directive = ""
    return f"{'ok' if _good(result) else 'not ok'} {place} {_text(result.check)}{directive}"


def _notes(pair: Pair, result: Result) -> list[str]:
    if _good(result) and standing(result) != "known":
        return []
    return [f"{result.label}: {result.reason}", f"again: {reproduce(pair, result)}"]


def _text(words: str) -> str:
    """One line without a `#`, which would begin a directive."""
    return visible(words, LONGEST).replace("#", r"\#")
