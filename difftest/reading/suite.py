"""Suites in one image: many results as lines of text, as kvm-unit-tests and its kin print them, or as TAP.

    PASS: name    FAIL: name    SKIP: name    XFAIL: name    XPASS: name        SUMMARY: 5 tests, 1 unexpected failures
    ok 1 - name   not ok 2 - name # TODO why                 ok 3 # SKIP why    1..3

The lines of two boots belong together by (suite, name, occurrence). A name that all boots printed alike stands as it
is; in what is left over, volatile numbers are masked, so that a test that tells a time or an address still finds its
partner.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from difftest.case.manifest import HOST_KERNEL, IMAGE
from difftest.text import visible
from difftest.verdict import Status
from emulators.host.expression import Expression

MOST_LINES = 20_000
LONGEST_NAME = 300

# What the image says of a test, and how it counts: what it expected to fail decides nothing.
STATUSES = {
    "PASS": Status.PASS,
    "FAIL": Status.FAIL,
    "SKIP": Status.SKIP,
    **dict.fromkeys(("XFAIL", "XPASS", "KFAIL", "KPASS"), Status.OPEN),
}
_LINE = re.compile(rf"({'|'.join(STATUSES)}): ?(\S.*)")
_SUMMARY = re.compile(r"SUMMARY: \d+ tests?\b.*")
_TAP_PLAN = re.compile(r"1\.\.(\d{1,6})(?: *#.*)?")
_TAP_LINE = re.compile(r"( *)(not )?ok\b(?: +(\d+))?(?: +-)?(?: +([^#]*))?(?:# *(SKIP|TODO)?.*)?", re.IGNORECASE)
_TAP_SUBTEST = re.compile(r" *# Subtest: (.+)")
# Times, counts, addresses; not the small constants and register values by which the names of tests differ.
_VOLATILE = re.compile(
    r"\b0x[0-9a-f]{5,}\b|\b(?=[a-f]*\d)[0-9a-f]{8,16}\b|\b\d+\.\d+\b|\b\d{4,}\b"
    r"|\b\d+(?= ?(?:[nmu]?s|sec(?:ond)?s?|cycles?|ticks?|[kMG]?Hz|%)(?!\w))",
    re.IGNORECASE,
)


class Line(msgspec.Struct, frozen=True):
    """One result. `said` is the image's own word, `suite` is "" where the image names none; all is safe to show."""

    suite: str
    name: str
    said: str

    @property
    def status(self) -> Status:
        return STATUSES[self.said]


class SuiteOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a transcript says in lines. `closed`: the image said itself that this is all."""

    lines: list[Line] = []
    closed: bool = False
    problems: list[str] = []


def parse_suite(lines: Sequence[str]) -> SuiteOutput:
    """Find results in a transcript's lines. TAP counts only where there is a plan: "ok" alone is a word like any
    other.
    """
    plans = [int(match.group(1)) for line in lines if (match := _TAP_PLAN.fullmatch(line))]
    found: list[Line] = []
    problems: list[str] = []
    summaries = outermost = 0
    subtest = ""
    for text in lines:
        if match := _LINE.fullmatch(text):
            found.append(_line(str(summaries + 1) if summaries else "", match.group(2), match.group(1)))
        elif _SUMMARY.fullmatch(text):
            summaries += 1
        elif plans and (match := _TAP_SUBTEST.fullmatch(text)):
            subtest = match.group(1)
        elif plans and (match := _TAP_LINE.fullmatch(text)):
            indent, failed, number, name, directive = match.groups()
            outermost += not indent
            found.append(
                _line(
                    subtest if indent else "",
                    (name or "").strip() or f"test {number}",
                    _tap_word(bool(failed), directive),
                )
            )
        if len(found) > MOST_LINES:
            return SuiteOutput(lines=found, problems=[f"more than {MOST_LINES} results"])
    if plans and sum(plans) != outermost:
        problems.append(f"TAP planned {sum(plans)} tests, {outermost} were read")
    return SuiteOutput(lines=found, closed=bool(summaries) or bool(plans and not problems), problems=problems)


def identified(boots: Sequence[Sequence[Line]], volatile: Sequence[str]) -> list[dict[str, Line]]:
    """The lines of each boot under ids that mean the same test in all of them; `volatile` are the case's own
    expressions for what varies in names.
    """
    own = [Expression(expression) for expression in volatile]
    named = [[(line, line.suite, masked(line.name, own)) for line in lines] for lines in boots]
    everywhere = set.intersection(*({(suite, name) for _, suite, name in lines} for lines in named)) if named else set()
    result = []
    for lines in named:
        times: Counter[str] = Counter()
        ids = {}
        for line, suite, name in lines:
            known = name if (suite, name) in everywhere else _VOLATILE.sub("#", name)
            one = f"{suite}/{known}" if suite else f"line {known}" if known in (IMAGE, HOST_KERNEL) else known
            times[one] += 1
            ids[f"{one} ({times[one]})" if times[one] > 1 else one] = line
        result.append(ids)
    return result


def masked(text: str, expressions: Sequence[Expression]) -> str:
    """The text with what varies from boot to boot replaced by a mark. Raises ExpressionError."""
    for expression in expressions:
        text = expression.masked(text)
    return text


def _line(suite: str, name: str, said: str) -> Line:
    return Line(visible(suite, LONGEST_NAME), visible(name, LONGEST_NAME), said)


def _tap_word(failed: bool, directive: str | None) -> str:
    kind = (directive or "").upper()
    if kind == "SKIP":
        return "SKIP"
    if kind == "TODO":
        return "XFAIL" if failed else "XPASS"
    return "FAIL" if failed else "PASS"
