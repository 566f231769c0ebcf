"""Which lines of two boots are one test: shown on lines of two suites of different syntax."""

from __future__ import annotations

import pytest

from difftest.judging.result import Result
from difftest.reading.line_pairs import identified
from difftest.reading.suite import parse_suite
from difftest.verdict import Verdict
from emulators.observation import Ending
from tests.sides import FREE, boot, judged

# Lines as a suite of PASS and FAIL prints them, and as one of TAP: the left side, the right side, and the ids.
KINDS = {
    "PASS and FAIL": ("PASS: {}", "FAIL: {}", "SUMMARY: {} tests"),
    "TAP": ("ok {0} - {1}", "not ok {0} - {1}", "1..{}"),
}
SIDES = {
    "one number varies in a line that is the only one of its kind": (
        ["fault in user mode, got vector 13", "other"],
        ["fault in user mode, got vector 0", "other"],
        [["fault in user mode, got vector #", "other"]] * 2,
    ),
    "the same number masked pairs lines that differ in another": (
        ["read of register 0x10, got vector 13", "read of register 0x11, got vector 13"],
        ["read of register 0x10, got vector 0", "read of register 0x11, got vector 0"],
        [["read of register 0x10, got vector #", "read of register 0x11, got vector #"]] * 2,
    ),
    "two numbers vary": (
        ["counter 7 after 3 turns", "x"],
        ["counter 9 after 5 turns", "x"],
        [["counter # after # turns", "x"]] * 2,
    ),
    "what is left is paired by its beginning, in order": (
        ["entry with bad field: refused as it must be", "exit with bad field: reason is entry failure"],
        ["entry with bad field: let through", "exit with bad field: reason is none at all"],
        [["entry with bad field: ...", "exit with bad field: reason is ..."]] * 2,
    ),
    "names that begin with a word in common are two tests": (
        ["mov to cr0 sets the flag"],
        ["mov from segment register"],
        [["mov to cr0 sets the flag"], ["mov from segment register"]],
    ),
    "constants by which tests differ stay": (
        ["cr 0", "cr 3", "cr 4"],
        ["cr 0", "cr 4"],
        [["cr 0", "cr 3", "cr 4"], ["cr 0", "cr 4"]],
    ),
}


@pytest.mark.parametrize("syntax", KINDS)
@pytest.mark.parametrize("what", SIDES)
def test_lines_of_two_sides_are_paired(what: str, syntax: str) -> None:
    left, right, ids = SIDES[what]
    passed, failed, end = KINDS[syntax]

    def suite(names: list[str], form: str) -> list[str]:
        return [form.format(number, name) if "0" in form else form.format(name) for number, name in enumerate(names, 1)]

    lists = [
        parse_suite([*suite(left, passed), end.format(len(left))]).lines,
        parse_suite([*suite(right, failed), end.format(len(right))]).lines,
    ]
    assert [list(one) for one in identified(lists, [])] == ids


def test_a_third_side_goes_by_the_same_ids() -> None:
    sides = [["got vector 13", "time 123456"], ["got vector 0", "time 123456"], ["got vector 13", "time 999999"]]
    lists = [parse_suite([f"PASS: {name}" for name in names]).lines for names in sides]
    assert [list(one) for one in identified(lists, [])] == [["got vector #", "time #"]] * 3


def both(left: str, right: str) -> dict[str, Result]:
    sides = [
        boot(target, text.encode(), Ending.HALTED, picture=b"x") for target, text in (("bochs", left), ("kvm", right))
    ]
    return {result.check: result for result in judged([sides[0]], [sides[1]], manifest=FREE)}


def test_one_line_with_two_outcomes_is_one_divergence() -> None:
    results = both(
        "PASS: store faults, got vector 13\nSUMMARY: 1 tests\n", "FAIL: store faults, got vector 0\nSUMMARY: 1 tests\n"
    )
    (result,) = results.values()
    assert result.verdict == Verdict.SUBJECT_WRONG and result.own
    assert result.label == "fails its own check on KVM", "no word of the SDM, which the image need not speak of"
    line = next(field for field in result.fields if field.name == "line")
    assert line.values == {"bochs": "store faults, got vector 13", "kvm": "store faults, got vector 0"}
