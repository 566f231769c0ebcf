"""Every way in which two observations become a verdict, and each check of fitness seen failing. What a third side does
to a verdict is in test_attribution.py.
"""

from __future__ import annotations

import msgspec
import pytest

from difftest.case.manifest import IMAGE, About, KnownDivergence, Manifest
from difftest.judging.result import Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.verdict import Verdict
from emulators.observation import Ending
from tests.sides import BLANK, FAIL, FREE, MANIFEST, PASS, boot, broken_off, judged, serial


def one(
    left: bytes,
    right: bytes,
    *,
    manifest: Manifest = MANIFEST,
    left_end: Ending = Ending.FINISHED,
    right_end: Ending = Ending.FINISHED,
    screen: ScreenReading = BLANK,
    **fields: object,
) -> list[Result]:
    """One boot on each side; `screen` and `fields` are the subject's."""
    reference = boot("bochs", left, left_end)
    subject = boot("kvm", right, right_end, screen=screen, **fields)
    return judged([reference], [subject], manifest=manifest)


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        (PASS, PASS, Verdict.AGREE),
        (PASS, FAIL, Verdict.SUBJECT_WRONG),
        (FAIL, PASS, Verdict.REFERENCE_WRONG),
        (FAIL, FAIL, Verdict.BOTH_WRONG),
        (PASS, PASS + " cr3=0x1", Verdict.DIFFER),
        (PASS + " free.tsc=0x1", PASS + " free.tsc=0x2", Verdict.AGREE),
        ("OPEN a=0x1", "OPEN a=0x1", Verdict.AGREE),
        ("OPEN a=0x1", "OPEN a=0x2", Verdict.DIFFER),
        ("OPEN a=0x1", "PASS a=0x1", Verdict.DIFFER),
        ("OPEN a=0x1 must.b=0x1 b=0x2", "OPEN a=0x1 must.b=0x1 b=0x1", Verdict.REFERENCE_WRONG),
        (PASS, 'SKIP reason="no VMX"', Verdict.SKIPPED),
        (PASS, "PASS exit_reason=0x0 must.exit_reason=0x30", Verdict.INCONCLUSIVE),
    ],
)
def test_records_against_each_other(left: str, right: str, verdict: Verdict) -> None:
    (result,) = one(serial(left), serial(right))
    assert result.verdict == verdict, result.reason


@pytest.mark.parametrize(
    "ending", [Ending.QUIET, Ending.TOTAL, Ending.FLOOD, Ending.CRASH, Ending.HALTED, Ending.RESET]
)
def test_no_agreement_without_the_terminal_marker(ending: Ending) -> None:
    results = one(serial(PASS), serial(PASS), right_end=ending)
    assert results[0].verdict == Verdict.INCONCLUSIVE
    assert ending in results[0].reason


def test_no_agreement_without_the_closing_count() -> None:
    (result,) = one(serial(PASS), serial(PASS).replace(b"difftest 1 end checks=1\n", b""))
    assert result.verdict == Verdict.INCONCLUSIVE and "closing count" in result.reason


def test_a_broken_transcript_decides_nothing() -> None:
    (result,) = one(serial(PASS), serial(FAIL).replace(b"case=x\n", b"case=x\ndifftest 1 nonsense\n"))
    assert result.verdict == Verdict.INCONCLUSIVE and "unknown line" in result.reason


def test_a_check_that_kills_one_side_is_that_sides_fault() -> None:
    (result,) = one(serial(PASS), broken_off(), right_end=Ending.TRIPLE_FAULT)
    assert result.verdict == Verdict.SUBJECT_WRONG
    assert "triple-fault" in result.reason and result.subject.status == "DIED"
    (result,) = one(broken_off(), serial(PASS), left_end=Ending.TRIPLE_FAULT)
    assert (result.verdict, result.reference.status) == (Verdict.REFERENCE_WRONG, "DIED")


@pytest.mark.parametrize("ending", [Ending.TOTAL, Ending.FLOOD, Ending.CRASH, Ending.PANIC])
def test_a_check_that_the_boot_ended_in_for_another_reason_decides_nothing(ending: Ending) -> None:
    (result,) = one(serial(PASS), broken_off(), right_end=ending)
    assert result.verdict == Verdict.INCONCLUSIVE and "in c0" in result.reason


def test_a_check_behind_a_killing_one_was_not_reached() -> None:
    killed, unreached = one(serial(PASS, PASS), broken_off(), right_end=Ending.TRIPLE_FAULT)
    assert killed.verdict == Verdict.SUBJECT_WRONG
    assert unreached.verdict == Verdict.INCONCLUSIVE


def test_what_was_booted_behind_a_killing_check_counts() -> None:
    rest = b"difftest 1 start c2\ndifftest 1 check c2 PASS x=0x3\ndifftest 1 end checks=1\nHalt: done\n"
    left = boot("bochs", serial("PASS x=0x1", "PASS x=0x2", "PASS x=0x3"))
    died = boot("kvm", broken_off("PASS x=0x1"), Ending.TRIPLE_FAULT)
    other = {"image_sha256": "1" * 64, "image_sha256_after": "1" * 64}  # other checks are switched on in it
    behind = boot("kvm", rest, part=1, **other)
    results = judged([left], [behind, died])
    assert [result.verdict for result in results] == [Verdict.AGREE, Verdict.SUBJECT_WRONG, Verdict.AGREE]
    without = judged([left], [died])
    # What was reported before the guest ended was reported.
    assert [result.verdict for result in without] == [Verdict.AGREE, Verdict.SUBJECT_WRONG, Verdict.INCONCLUSIVE]
    as_first = judged([left], [boot("kvm", serial("PASS x=0x1", "PASS x=0x2", "PASS x=0x3"), **other)])
    assert {result.verdict for result in as_first} == {Verdict.INCONCLUSIVE}, "these are not the same bytes"


def test_a_death_that_did_not_come_again_in_a_later_part_is_told() -> None:
    """The first part's memory was gone with the guest; booted again, all checks pass."""
    gone, again = boot("kvm", b"", Ending.INTERNAL_ERROR), boot("kvm", serial(PASS), part=1)
    for parts in ([gone, again], [again, gone]):
        check, image = judged([boot("bochs", serial(PASS))], parts)
        assert (check.verdict, image.check, image.verdict) == (Verdict.AGREE, IMAGE, Verdict.DIFFER)
        assert "kvm-internal-error" in image.reason


def test_a_check_that_no_part_reached_names_the_end_of_the_last() -> None:
    parts = [boot("kvm", broken_off(), Ending.TRIPLE_FAULT), boot("kvm", b"", Ending.TOTAL, part=1)]
    unreached = judged([boot("bochs", serial(PASS, PASS))], parts)[1]
    assert unreached.verdict == Verdict.INCONCLUSIVE and "timeout-total" in unreached.reason


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_sha256_after": "1" * 64}, "bytes changed"),
        ({"alarms": ["serial output lost: 3 bytes"]}, "serial output lost"),
        ({"image_sha256": "1" * 64, "image_sha256_after": "1" * 64}, "same bytes"),
    ],
)
@pytest.mark.parametrize("unfit", ["kvm", "bochs"])
def test_an_unfit_observation_carries_no_verdict(fields: dict[str, object], words: str, unfit: str) -> None:
    sides = [boot(name, serial(FAIL), **(fields if name == unfit else {})) for name in ("bochs", "kvm")]
    (result,) = judged(sides[:1], sides[1:])
    assert result.verdict == Verdict.INCONCLUSIVE
    assert words in result.reason


def test_ocr_and_text_memory_must_say_the_same() -> None:
    screen = msgspec.structs.replace(BLANK, problem="row 20: OCR reads 'BAD', text memory says ''")
    (result,) = one(serial(PASS), serial(FAIL), screen=screen)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "OCR reads" in result.reason
    (result,) = one(serial(PASS), broken_off(), screen=screen, right_end=Ending.TRIPLE_FAULT)
    assert result.verdict == Verdict.SUBJECT_WRONG, "what is left on the screen of a guest that died is nobody's word"


def test_agreeing_checks_do_not_hide_a_screen_that_differs() -> None:
    rows = {**BLANK.rows, 20: RowReading(memory="BAD", ocr="BAD", agree=True)}
    results = one(serial(PASS), serial(PASS), screen=msgspec.structs.replace(BLANK, rows=rows))
    assert [(result.check, result.verdict) for result in results] == [("c0", Verdict.AGREE), (IMAGE, Verdict.DIFFER)]


KNOWN = msgspec.structs.replace(
    MANIFEST,
    known=[
        KnownDivergence(
            check="c0",
            verdict=Verdict.SUBJECT_WRONG,
            reason="known",
            targets=["kvm"],
            kernels="<7",
            match={"exit_reason": "0x0"},
        )
    ],
)


@pytest.mark.parametrize(
    ("right", "kernel", "expected"),
    [
        (FAIL, "6.1.0-56-cloud-amd64", True),
        (FAIL, "7.3.4", False),
        (FAIL, "", False),
        (PASS, "6.1.0", False),
        (PASS, "7.3.4", True),
        (PASS, "", True),
    ],
)
def test_a_known_divergence_is_expected_within_its_range_and_only_there(
    right: str, kernel: str, expected: bool
) -> None:
    (result,) = one(serial(PASS), serial(right), manifest=KNOWN, identity={"kernel": kernel} if kernel else {})
    assert result.expected is expected


KNOWN_OF_BOCHS = msgspec.structs.replace(
    MANIFEST,
    known=[
        KnownDivergence(
            check=["c1", "c0"],
            verdict=Verdict.REFERENCE_WRONG,
            reason="known",
            bochs="<=3.0",
            match={"exit_reason": "0x0"},
        )
    ],
)


@pytest.mark.parametrize(
    ("left", "bochs", "expected"),
    [(FAIL, "2.7+dfsg-4+deb12u1", True), (FAIL, "3.1-1", False), (PASS, "3.0+dfsg-1", False), (PASS, "3.1", True)],
)
def test_a_known_divergence_of_bochs_has_a_range_of_its_own(left: str, bochs: str, expected: bool) -> None:
    reference = boot("bochs", serial(left), identity={"bochs": bochs})
    subject = boot("kvm", serial(PASS), identity={"bochs": "1.0"})
    (result,) = judged([reference], [subject], manifest=KNOWN_OF_BOCHS)
    assert result.expected is expected


def test_free_text_agrees_on_its_terminal_line() -> None:
    ends = {"left_end": Ending.HALTED, "right_end": Ending.HALTED}
    (result,) = one(b"tsc 1\nall done\n", b"tsc 2\nall done\n", manifest=FREE, **ends)
    assert (result.check, result.verdict) == (IMAGE, Verdict.AGREE)
    (result,) = one(b"all done\n", b"not done\n", manifest=FREE, **ends)
    assert result.verdict == Verdict.DIFFER
    words = msgspec.structs.replace(FREE, right="all done", wrong="not done")
    (result,) = one(b"all done\n", b"not done\n", manifest=words, **ends)
    assert result.verdict == Verdict.SUBJECT_WRONG


SAID = b"all done\n"
IN_ORDER, FATAL_END = (SAID, Ending.HALTED), (b"begin\n", Ending.TRIPLE_FAULT)


@pytest.mark.parametrize(
    ("left", "right", "words", "verdict"),
    [
        (IN_ORDER, FATAL_END, "", Verdict.DIFFER),
        (FATAL_END, IN_ORDER, "", Verdict.DIFFER),
        (FATAL_END, FATAL_END, "", Verdict.INCONCLUSIVE),
        (IN_ORDER, FATAL_END, "all done", Verdict.SUBJECT_WRONG),
        (FATAL_END, IN_ORDER, "all done", Verdict.REFERENCE_WRONG),
        (FATAL_END, FATAL_END, "all done", Verdict.INCONCLUSIVE),
    ],
)
def test_the_death_of_an_image_that_does_not_say_what_is_right_breaks_nothing(
    left: tuple[bytes, Ending], right: tuple[bytes, Ending], words: str, verdict: Verdict
) -> None:
    manifest = msgspec.structs.replace(FREE, right=words)
    (result,) = one(left[0], right[0], manifest=manifest, left_end=left[1], right_end=right[1])
    assert result.verdict == verdict and "triple-fault" in result.reason


def test_a_death_that_the_cpu_under_it_shares_is_told() -> None:
    sides = [boot("bochs", *IN_ORDER)], [boot("kvm", *FATAL_END)], [boot("host-cpu", *FATAL_END)]
    (result,) = judged(*sides, manifest=FREE)
    assert result.verdict == Verdict.DIFFER and "the subject does as the CPU under it" in result.hints[0]


def test_two_silent_images_do_not_agree() -> None:
    (result,) = one(b"", b"", manifest=FREE, left_end=Ending.HALTED, right_end=Ending.HALTED)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "showed nothing" in result.reason


def test_firmware_text_is_no_evidence() -> None:
    screen = msgspec.structs.replace(BLANK, text=["SeaBIOS (version 1)", "Booting from Hard Disk...", *[""] * 23])
    seen = boot("bochs", b"", Ending.HALTED, screen=screen)
    (result,) = judged([seen], [seen], manifest=FREE)
    assert result.verdict == Verdict.INCONCLUSIVE


def test_checks_known_from_the_build_but_never_reported_are_told() -> None:
    left = boot("bochs", serial(PASS))
    results = judged([left], [left], abouts=[About(check="never")])
    assert results[0].check == "never"
    assert results[0].verdict == Verdict.INCONCLUSIVE
