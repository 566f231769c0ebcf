"""Suites in one image: many results as lines of text, as kvm-unit-tests and its kin print them, or as TAP.

    PASS: name    FAIL: name    SKIP: name    XFAIL: name    XPASS: name        SUMMARY: 5 tests, 1 unexpected failures
    ok 1 - name   not ok 2 - name # TODO why                 ok 3 # SKIP why    1..3
    Test suite: name of a test with lines of its own         difftest exit 0

Which lines of two boots belong together is found out in `pairing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from difftest.text import visible
from difftest.verdict import Status

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
_SECTION = re.compile(r"Test suite: (\S.*)")
_EXIT = re.compile(r"difftest exit (\d{1,3})")
SKIPPED_EXIT = 77  # the exit status by which an image says that it skips all it has


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
    sections: list[str] = []  # tests that have lines of their own, in the order in which they began
    exit: int | None = None  # the image's exit status: 0 where all is well, SKIPPED_EXIT; None where it says none
    closed: bool = False
    problems: list[str] = []


def parse_suite(lines: Sequence[str]) -> SuiteOutput:
    """Find results in a transcript's lines. TAP counts only where there is a plan: "ok" alone is a word like any
    other.
    """
    plans = [int(match.group(1)) for line in lines if (match := _TAP_PLAN.fullmatch(line))]
    found: list[Line] = []
    sections: list[str] = []
    problems: list[str] = []
    status: int | None = None
    summaries = outermost = 0
    subtest = section = ""
    for text in lines:
        if match := _LINE.fullmatch(text):
            found.append(_line(section or (str(summaries + 1) if summaries else ""), match.group(2), match.group(1)))
        elif _SUMMARY.fullmatch(text):
            summaries += 1
            section = ""
        elif match := _SECTION.fullmatch(text):
            section = visible(match.group(1).strip().replace(" ", "_"), LONGEST_NAME)
            sections.append(section)
        elif match := _EXIT.fullmatch(text):
            status = int(match.group(1))
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
            return SuiteOutput(lines=found, problems=[f"more than {MOST_LINES} results"], sections=sections)
    if plans and sum(plans) != outermost:
        problems.append(f"TAP planned {sum(plans)} tests, {outermost} were read")
    return SuiteOutput(
        lines=found,
        sections=sections,
        exit=status,
        closed=bool(summaries) or bool(plans and not problems),
        problems=problems,
    )


def _line(suite: str, name: str, said: str) -> Line:
    return Line(visible(suite, LONGEST_NAME), visible(name, LONGEST_NAME), said)


def _tap_word(failed: bool, directive: str | None) -> str:
    kind = (directive or "").upper()
    if kind == "SKIP":
        return "SKIP"
    if kind == "TODO":
        return "XFAIL" if failed else "XPASS"
    return "FAIL" if failed else "PASS"
