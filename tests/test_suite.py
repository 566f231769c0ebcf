"""Images that print many results as lines: what is read, what belongs together, and what a side that broke off is said
to be.
"""

from __future__ import annotations

import pytest

from difftest.case.manifest import IMAGE, Manifest
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.reading.line_pairs import identified
from difftest.reading.record import parse
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.reading.suite import SuiteOutput, parse_suite
from difftest.verdict import Verdict
from emulators.observation import Ending
from tests.sides import BLANK, FREE, boot
from tests.sides import judged as judged_boots


def words(suite: SuiteOutput) -> list[tuple[str, str, str]]:
    return [(line.suite, line.name, line.said) for line in suite.lines]


def test_lines_of_kvm_unit_tests_are_read() -> None:
    said = (
        "enabling apic|PASS: vmx: on|FAIL: vmx: off\r|XFAIL: a|SKIP: b (no EPT)| PASS: indented|SUMMARY: 4 "
        "tests, 1 skipped|"
    )
    text = said.replace("|", "\n")
    suite = parse(text.encode()).suite
    assert words(suite) == [
        ("", "vmx: on", "PASS"),
        ("", "vmx: off", "FAIL"),
        ("", "a", "XFAIL"),
        ("", "b (no EPT)", "SKIP"),
    ]
    assert suite.closed and not suite.problems
    second = parse_suite([*text.replace("\r", "").split("\n"), "PASS: again"])
    assert words(second)[-1] == ("2", "again", "PASS"), "what follows a summary is another suite"


def test_tap_is_read_where_it_is_planned() -> None:
    lines = "TAP version 13|1..4|ok 1 - one|# Subtest: deep|    ok 1 - two|not ok 2 - deep|not ok 3 - three # TODO"
    suite = parse_suite([*lines.split("|"), "ok 4 # SKIP no such thing"])
    assert words(suite) == [
        ("", "one", "PASS"),
        ("deep", "two", "PASS"),
        ("", "deep", "FAIL"),
        ("", "three", "XFAIL"),
        ("", "test 4", "SKIP"),
    ]
    assert suite.closed
    short = parse_suite(["1..2", "ok 1 - one"])
    assert not short.closed and "planned 2" in short.problems[0]
    assert parse_suite(["ok", "ok 1 - one"]).lines == [], "without a plan, ok is a word"


def test_lines_belong_together_by_suite_name_and_occurrence() -> None:
    left = parse_suite(
        ["PASS: msr 0xc0000080", "PASS: took 17 cycles", "PASS: same", "PASS: same", "PASS: at 0x7fff1234"]
    ).lines
    right = parse_suite(
        ["PASS: msr 0xc0000080", "FAIL: took 9 cycles", "PASS: same", "PASS: at 0x7fff9999", "PASS: reg 3"]
    ).lines
    ids = [list(one) for one in identified([left, right], [])]
    assert ids[0] == ["msr 0xc0000080", "took # cycles", "same", "same (2)", "at #"]
    assert ids[1] == ["msr 0xc0000080", "took # cycles", "same", "at #", "reg 3"]
    assert "reg #" in identified([left, right], [r"(?<=reg )\d"])[1], "a case may name more that varies"


def judged(
    left: str,
    right: str,
    *,
    ends: tuple[Ending, Ending] = (Ending.POWER_OFF, Ending.HALTED),
    manifest: Manifest = FREE,
    debug: bool = False,
) -> dict[str, Result]:
    def side(target: str, text: str, ending: Ending) -> BootReading:
        said = {"debug": text.encode()} if debug else {}
        return boot(target, b"boot noise\n" if debug else text.encode(), ending, picture=b"x", **said)

    results = judged_boots([side("bochs", left, ends[0])], [side("kvm", right, ends[1])], manifest=manifest)
    return {result.check: result for result in results}


@pytest.mark.parametrize("debug", [False, True], ids=["COM1", "port E9"])
def test_one_result_for_each_line(debug: bool) -> None:
    left = "PASS: a\nPASS: b\nXFAIL: c\nSKIP: d\nFAIL: e\nSUMMARY: 5 tests\n"
    right = "PASS: a\nFAIL: b\nPASS: c\nPASS: d\nFAIL: e\nSUMMARY: 5 tests, 2 unexpected failures\n"
    results = judged(left, right, debug=debug)
    assert {check: result.verdict for check, result in results.items()} == {
        "a": Verdict.AGREE,
        "b": Verdict.SUBJECT_WRONG,
        "c": Verdict.DIFFER,
        "d": Verdict.SKIPPED,
        "e": Verdict.BOTH_WRONG,
    }


def test_a_line_on_one_side_only_is_no_verdict_and_no_divergence() -> None:
    results = judged("PASS: a\nPASS: b\nSUMMARY: 2 tests\n", "PASS: a\nSUMMARY: 1 tests\n")
    assert results["a"].verdict == Verdict.AGREE
    assert results["b"].verdict == Verdict.INCONCLUSIVE
    assert "kvm: no such result there" in results["b"].reason and results["b"].subject.status == "-"


def test_a_side_that_died_has_not_passed() -> None:
    results = judged("PASS: a\nPASS: b\n", "PASS: a\n", ends=(Ending.HALTED, Ending.TRIPLE_FAULT))
    assert {check: result.verdict for check, result in results.items()} == {
        "a": Verdict.AGREE,
        "b": Verdict.INCONCLUSIVE,
        IMAGE: Verdict.DIFFER,
    }
    assert "triple-fault" in results[IMAGE].reason and results[IMAGE].subject.status == "DIED"


def test_a_suite_that_breaks_off_in_order_is_told_too() -> None:
    results = judged("PASS: a\nPASS: b\nSUMMARY: 2 tests\n", "PASS: a\nUnhandled exception 13\n")
    assert results[IMAGE].verdict == Verdict.DIFFER and "terminal_line" in results[IMAGE].reason


TESTS = Manifest(name="free", image="free.img", parameters=True, tests={"first": 0, "second": 1, "third": 2})
FIRST = "Test suite: first\nPASS: a\nTest suite: second\n"
WHOLE = f"{FIRST}PASS: b\nPASS: c\nTest suite: third\nPASS: d\nSUMMARY: 4 tests\n"


def test_a_side_that_ends_in_a_test_of_its_own_differs_there_alone() -> None:
    right = f"{FIRST}PASS: b\nUnhandled exception 6\ndifftest exit 63\n"
    results = judged(WHOLE, right, manifest=TESTS)
    assert results["second"].verdict == Verdict.SUBJECT_WRONG and results["second"].label.startswith("fails its own")
    assert "exit status 63 (Unhandled exception 6)" in results["second"].reason
    assert any("printed after that: 1" in hint for hint in results["second"].hints), "the lost line is counted there"
    assert {check: results[check].verdict for check in ("first", "first/a", "second/b")} == dict.fromkeys(
        ("first", "first/a", "second/b"), Verdict.AGREE
    )
    assert IMAGE not in results and "second/c" not in results


def test_what_was_booted_after_such_an_end_counts() -> None:
    died = boot(
        "kvm", b"Test suite: first\nPASS: a\nTest suite: second\nUnhandled\n", Ending.TRIPLE_FAULT, picture=b"x"
    )
    rest = boot("kvm", b"Test suite: third\nPASS: d\nSUMMARY: 1 tests\n", Ending.HALTED, picture=b"x", part=1)
    whole = boot("bochs", WHOLE.encode(), Ending.HALTED, picture=b"x")
    results = {one.check: one.verdict for one in judged_boots([whole], [died, rest], manifest=TESTS)}
    assert results["third/d"] == results["third"] == results["first/a"] == Verdict.AGREE
    assert results["second"] == Verdict.SUBJECT_WRONG


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ("difftest exit 0", "difftest exit 0", Verdict.AGREE),
        ("difftest exit 0", "difftest exit 1", Verdict.SUBJECT_WRONG),
        ("difftest exit 63", "difftest exit 0", Verdict.REFERENCE_WRONG),
        ("difftest exit 63", "difftest exit 63", Verdict.INCONCLUSIVE),
        ("difftest exit 77", "difftest exit 0", Verdict.SKIPPED),
    ],
)
def test_an_exit_status_is_understood(left: str, right: str, verdict: Verdict) -> None:
    assert judged(f"{left}\n", f"{right}\n")[IMAGE].verdict == verdict


def test_what_fails_for_want_of_a_device_is_blamed_on_nobody() -> None:
    manifest = Manifest(name="free", image="free.img", absent_devices=["pc-testdev"])
    results = judged("FAIL: a\nPASS: b\nSUMMARY: 2 tests\n", "FAIL: a\nPASS: b\nSUMMARY: 2 tests\n", manifest=manifest)
    assert results["a"].verdict == Verdict.SKIPPED and "pc-testdev" in results["a"].reason
    assert results["b"].verdict == Verdict.AGREE


def test_a_suite_that_hangs_agrees_on_nothing() -> None:
    results = judged("PASS: a\n", "PASS: a\n", ends=(Ending.HALTED, Ending.QUIET))
    assert results["a"].verdict == Verdict.INCONCLUSIVE


def test_a_broken_tap_plan_agrees_on_nothing() -> None:
    results = judged("1..2\nok 1 - a\n", "1..2\nok 1 - a\n")
    assert results["a"].verdict == Verdict.INCONCLUSIVE and "planned" in results["a"].reason


def test_a_line_cannot_pass_for_the_image_as_a_whole() -> None:
    assert list(judged("PASS: image\nPASS: host-kernel\n", "PASS: image\nPASS: host-kernel\n")) == [
        "line image",
        "line host-kernel",
    ]


def test_a_prompt_on_the_screen_ends_a_silent_image() -> None:
    prompt = ScreenReading(rows=BLANK.rows, text=["GRUB", "grub> ", *[""] * 23])
    seen = [boot("bochs", b"", Ending.QUIET, screen=prompt), boot("kvm", b"", Ending.SETTLED, screen=prompt)]
    for end_screen, verdict in (
        ("^grub> ", Verdict.AGREE),
        ("^other", Verdict.INCONCLUSIVE),
        ("", Verdict.INCONCLUSIVE),
    ):
        manifest = Manifest(name="x", image="x.img", end_screen=end_screen)
        (result,) = judged_boots(seen[:1], seen[1:], manifest=manifest)
        assert result.verdict == verdict, result.reason
    manifest = Manifest(name="x", image="x.img", end_screen="^grub> ")
    loading = ScreenReading(rows=BLANK.rows, text=["GRUB", "loading", *[""] * 23])
    went_on = boot("kvm", b"", Ending.SETTLED, screen=loading)
    (result,) = judged_boots(seen[:1], [went_on], manifest=manifest)
    assert result.verdict == Verdict.INCONCLUSIVE, "it was stopped too early"


def test_rows_of_the_screen_carry_a_verdict_where_the_ports_are_silent() -> None:
    def shows(row: int, word: str) -> ScreenReading:
        return ScreenReading(rows={**BLANK.rows, row: RowReading(memory=word, ocr=word, agree=True)}, text=[""] * 25)

    manifest = Manifest(name="x", image="x.img", right="^GOOD", wrong="^BAD")
    reference = boot("bochs", b"", Ending.HALTED, screen=shows(21, "GOOD"))
    subject = boot("kvm", b"", Ending.HALTED, screen=shows(20, "BAD"))
    (result,) = judged_boots([reference], [subject], manifest=manifest)
    assert result.verdict == Verdict.SUBJECT_WRONG


def test_a_machine_that_is_gone_has_no_screen_to_compare() -> None:
    none = ScreenReading(problem="no picture of the screen or no text memory was taken")
    left = boot("bochs", b"all done\n", Ending.POWER_OFF, screen=none)
    right = boot("kvm", b"all done\n", Ending.HALTED, picture=b"x")
    (result,) = judged_boots([left], [right], manifest=FREE)
    assert result.verdict == Verdict.AGREE, result.reason
    silent = boot("bochs", b"", Ending.POWER_OFF, screen=none)
    (result,) = judged_boots([silent], [silent], manifest=FREE)
    assert result.verdict == Verdict.INCONCLUSIVE, "nothing was seen of it at all"


def test_what_an_image_skipped_at_its_end_is_no_difference() -> None:
    left = "PASS: a\nFAIL: counter counts\nUnhandled exception 13\ndifftest exit 63\n"
    right = "PASS: a\nSKIP: no counters here\nSUMMARY: 2 tests, 1 skipped\ndifftest exit 0\n"
    results = judged(left, right)
    assert results["a"].verdict == Verdict.AGREE
    assert results["counter counts"].verdict == Verdict.SKIPPED, "KVM, which is tested, was not tested"
    assert "no counters here" in judged("PASS: a\nPASS: b\n", right)["b"].reason
    assert IMAGE not in results, "how far the other side came says nothing"
