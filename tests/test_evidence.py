"""What of two screens is compared: words below the firmware's wherever they stand, others where they were put."""

from __future__ import annotations

import pytest

from difftest.case.manifest import Manifest
from difftest.judging.evidence import ScreenScope, screen_scope
from difftest.judging.result import Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.verdict import Verdict
from emulators.observation import Ending
from tests.sides import boot
from tests.sides import judged as judged_boots

MANIFEST = Manifest(name="x", image="x.img", right="^right", wrong="^wrong")
LONG = ["Bochs VGABios", "an unknown firmware's words", *["ata0 master"] * 12, "", "Booting from Hard Disk..."]
SHORT = ["SeaBIOS (version 1)", "", "Booting from Hard Disk..."]


def screen(text: list[str]) -> ScreenReading:
    text = [*text, *[""] * 25][-25:] if len(text) > 25 else [*text, *[""] * (25 - len(text))]
    return ScreenReading(
        rows={row: RowReading(memory=text[row], ocr=text[row], agree=True) for row in range(20, 24)}, text=text
    )


def judged(left: list[str], right: list[str]) -> Result:
    reference, subject = (
        boot(name, b"", Ending.HALTED, screen=screen(text)) for name, text in (("bochs", left), ("kvm", right))
    )
    (result,) = judged_boots([reference], [subject], manifest=MANIFEST)
    return result


def test_lines_below_the_firmwares_are_compared_wherever_they_stand() -> None:
    lines = [f"line {number}" for number in range(7)]
    assert judged([*LONG, *lines], [*SHORT, *lines]).verdict == Verdict.AGREE
    assert judged([*LONG, "", *lines, "No bootable device."], [*SHORT, *lines]).verdict == Verdict.AGREE
    assert judged([*LONG, "a", "", "b"], [*SHORT, "a", "b"]).verdict == Verdict.AGREE


@pytest.mark.parametrize("other", [["a", "X", "c"], ["a", "c"], ["a", "b", "c", "c"], ["b", "a", "c"]])
def test_each_of_them_counts(other: list[str]) -> None:
    for left, right in ((["a", "b", "c"], other), (other, ["a", "b", "c"])):
        result = judged([*LONG, *left], [*SHORT, *right])
        assert result.verdict == Verdict.DIFFER, result.reason


def test_words_that_were_put_somewhere_are_compared_there() -> None:
    def shows(row: int, *firmware: str) -> list[str]:
        return [*firmware, *[""] * (row - len(firmware)), "outcome"]

    assert judged(shows(20, *LONG), shows(20, *SHORT)).verdict == Verdict.AGREE
    assert judged(shows(18, *LONG), shows(20, *SHORT)).verdict == Verdict.DIFFER, (
        "although it is near the firmware's on one side"
    )
    assert judged(shows(20, *LONG), shows(21, *SHORT)).verdict == Verdict.DIFFER
    assert judged(shows(20), shows(21)).verdict == Verdict.DIFFER, "the screen was cleared"


def test_a_verdict_among_them_is_found() -> None:
    result = judged([*LONG, "begin", "right: 1", "end"], [*SHORT, "begin", "right: 1", "end"])
    assert [side.status for side in result.sides] == ["PASS", "PASS"]
    result = judged([*LONG, "begin", "right: 1", "end"], [*SHORT, "begin", "wrong: 2", "end"])
    assert result.verdict == Verdict.SUBJECT_WRONG


def test_of_a_prompt_and_of_a_machine_that_is_gone_only_words_are_compared() -> None:
    shown = boot("bochs", b"", Ending.HALTED, screen=screen([*SHORT, "line"]))
    gone = boot("bochs", b"", Ending.POWER_OFF, screen=ScreenReading())
    assert screen_scope(MANIFEST, shown, shown) == ScreenScope.LINES
    assert screen_scope(MANIFEST, shown, gone) == ScreenScope.NOTHING
    behind_its_marker = boot("bochs", b"", Ending.FINISHED, screen=ScreenReading(), gone=True)
    assert screen_scope(MANIFEST, shown, behind_its_marker) == ScreenScope.NOTHING
    assert (
        screen_scope(MANIFEST, shown, boot("bochs", b"", Ending.FINISHED, screen=ScreenReading()))
        != ScreenScope.NOTHING
    )
    assert screen_scope(Manifest(name="x", image="x.img", end_screen="x"), shown, shown) == ScreenScope.NOTHING
    assert screen_scope(MANIFEST, shown, boot("kvm", b"", screen=screen(SHORT))) == ScreenScope.ROWS
