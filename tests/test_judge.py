"""Every way in which two observations become a verdict, and each check of fitness seen failing."""

from __future__ import annotations

import msgspec
import pytest

from difftest.case.manifest import HOST_KERNEL, IMAGE, About, Known, Manifest
from difftest.judging.judge import judge
from difftest.judging.result import Result
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.reading.seen import Seen, see
from difftest.verdict import ExitCode, Verdict, exit_code
from emulators.fake import observation
from emulators.observation import Ending
from emulators.target import Names

BOCHS = Names(target="bochs", implementation="Bochs")
KVM = Names(target="kvm", implementation="KVM")
HOSTED = Names(target="kvm-hosted", implementation="KVM", inherits="Bochs")
MANIFEST = Manifest(name="x", sources=["x.c"], end="^Halt")
PASS = "PASS exit_reason=0x30 must.exit_reason=0x30"
FAIL = "FAIL exit_reason=0x0 must.exit_reason=0x30"
BLANK = ScreenReading(rows={row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}, text=[""] * 25)


def serial(*checks: str) -> bytes:
    lines = ["difftest 1 case=x"]
    for number, check in enumerate(checks):
        lines += [f"difftest 1 start c{number}", f"difftest 1 check c{number} {check}"]
    return "\n".join([*lines, f"difftest 1 end checks={len(checks)}", "Halt: done", ""]).encode()


def one(
    left: bytes,
    right: bytes,
    *,
    manifest: Manifest = MANIFEST,
    subject: Names = KVM,
    left_end: Ending = Ending.FINISHED,
    right_end: Ending = Ending.FINISHED,
    screen: ScreenReading = BLANK,
    **fields: object,
) -> list[Result]:
    reference = see(observation("bochs", left, left_end), BLANK)
    other = see(observation(subject.target, right, right_end, **fields), screen)
    return judge(manifest, [], (BOCHS, [reference]), (subject, [other]))


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
        (PASS, 'SKIP reason="no VMX"', Verdict.SKIPPED),
        (PASS, "PASS exit_reason=0x0 must.exit_reason=0x30", Verdict.INCONCLUSIVE),
    ],
)
def test_records_against_each_other(left: str, right: str, verdict: Verdict) -> None:
    (result,) = one(serial(left), serial(right))
    assert result.verdict == verdict, result.reason


def test_the_same_fault_on_both_sides_is_inherited_where_the_reference_is_the_hardware() -> None:
    assert one(serial(FAIL), serial(FAIL), subject=HOSTED)[0].verdict == Verdict.INHERITED
    other = "FAIL exit_reason=0x1 must.exit_reason=0x30"
    assert one(serial(FAIL), serial(other), subject=HOSTED)[0].verdict == Verdict.BOTH_WRONG


@pytest.mark.parametrize(
    "ending", [Ending.QUIET, Ending.TOTAL, Ending.FLOOD, Ending.CRASH, Ending.HALTED, Ending.RESET]
)
def test_no_agreement_without_the_terminal_marker(ending: Ending) -> None:
    results = one(serial(PASS), serial(PASS), right_end=ending)
    assert results[0].verdict == Verdict.INCONCLUSIVE
    assert ending in results[0].reason


def test_a_check_that_kills_one_side_is_that_sides_fault() -> None:
    died = b"difftest 1 case=x\ndifftest 1 start c0\n"
    (result,) = one(serial(PASS), died, right_end=Ending.TRIPLE_FAULT)
    assert result.verdict == Verdict.SUBJECT_WRONG
    assert "triple-fault" in result.reason and result.subject_status == "DIED"


def test_a_check_behind_a_killing_one_was_not_reached() -> None:
    died = b"difftest 1 case=x\ndifftest 1 start c0\n"
    killed, unreached = one(serial(PASS, PASS), died, right_end=Ending.TRIPLE_FAULT)
    assert killed.verdict == Verdict.SUBJECT_WRONG
    assert unreached.verdict == Verdict.INCONCLUSIVE


def test_what_was_booted_behind_a_killing_check_counts() -> None:
    first = b"difftest 1 start c0\ndifftest 1 check c0 PASS x=0x1\ndifftest 1 start c1\n"
    rest = b"difftest 1 start c2\ndifftest 1 check c2 PASS x=0x3\ndifftest 1 end checks=1\nHalt: done\n"
    left = see(observation("bochs", serial("PASS x=0x1", "PASS x=0x2", "PASS x=0x3")), BLANK)
    died = see(observation("kvm", first, Ending.TRIPLE_FAULT), BLANK)
    behind = see(observation("kvm", rest, part=1, image_sha256="1" * 64, image_sha256_after="1" * 64), BLANK)
    results = judge(MANIFEST, [], (BOCHS, [left]), (KVM, [died, behind]))
    assert [result.verdict for result in results] == [Verdict.AGREE, Verdict.SUBJECT_WRONG, Verdict.AGREE]
    without = judge(MANIFEST, [], (BOCHS, [left]), (KVM, [died]))
    assert [result.verdict for result in without] == [Verdict.INCONCLUSIVE, Verdict.SUBJECT_WRONG, Verdict.INCONCLUSIVE]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_sha256_after": "1" * 64}, "bytes changed"),
        ({"alarms": ["serial output lost: 3 bytes"]}, "serial output lost"),
        ({"image_sha256": "1" * 64, "image_sha256_after": "1" * 64}, "same bytes"),
    ],
)
def test_an_unfit_observation_carries_no_verdict(fields: dict[str, object], words: str) -> None:
    (result,) = one(serial(PASS), serial(FAIL), **fields)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert words in result.reason


def test_ocr_and_text_memory_must_say_the_same() -> None:
    screen = msgspec.structs.replace(BLANK, problem="row 20: OCR reads 'BAD', text memory says ''")
    (result,) = one(serial(PASS), serial(FAIL), screen=screen)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "OCR reads" in result.reason


def test_agreeing_checks_do_not_hide_a_screen_that_differs() -> None:
    rows = {**BLANK.rows, 20: RowReading(memory="BAD", ocr="BAD", agree=True)}
    results = one(serial(PASS), serial(PASS), screen=msgspec.structs.replace(BLANK, rows=rows))
    assert [(result.check, result.verdict) for result in results] == [("c0", Verdict.AGREE), (IMAGE, Verdict.DIFFER)]


def test_a_kernel_warning_is_a_finding_of_its_own() -> None:
    results = one(serial(PASS), serial(PASS), kernel_faults=["WARNING: CPU: 0 PID: 1 at arch/x86/kvm/x.c:1"])
    assert results[-1].check == HOST_KERNEL and results[-1].verdict == Verdict.SUBJECT_WRONG
    assert exit_code((result.verdict, result.expected) for result in results) == ExitCode.DIVERGED


KNOWN = msgspec.structs.replace(
    MANIFEST,
    known=[Known(check="c0", verdict=Verdict.SUBJECT_WRONG, reason="known", targets=["kvm"], kernels="<7")],
)


@pytest.mark.parametrize(
    ("right", "kernel", "expected"),
    [(FAIL, "6.1.0-56-cloud-amd64", True), (FAIL, "7.3.4", False), (PASS, "6.1.0", False), (PASS, "7.3.4", True)],
)
def test_a_known_divergence_is_expected_within_its_range_and_only_there(
    right: str, kernel: str, expected: bool
) -> None:
    (result,) = one(serial(PASS), serial(right), manifest=KNOWN, identity={"kernel": kernel})
    assert result.expected is expected


KNOWN_OF_BOCHS = msgspec.structs.replace(
    MANIFEST, known=[Known(check=["c1", "c0"], verdict=Verdict.REFERENCE_WRONG, reason="known", bochs="<=3.0")]
)


@pytest.mark.parametrize(
    ("left", "bochs", "expected"),
    [(FAIL, "2.7+dfsg-4+deb12u1", True), (FAIL, "3.1-1", False), (PASS, "3.0+dfsg-1", False), (PASS, "3.1", True)],
)
def test_a_known_divergence_of_bochs_has_a_range_of_its_own(left: str, bochs: str, expected: bool) -> None:
    reference = see(observation("bochs", serial(left), identity={"bochs": bochs}), BLANK)
    subject = see(observation("kvm", serial(PASS), identity={"bochs": "1.0"}), BLANK)
    (result,) = judge(KNOWN_OF_BOCHS, [], (BOCHS, [reference]), (KVM, [subject]))
    assert result.expected is expected


def test_repeated_boots_that_differ_are_flaky() -> None:
    def boots(target: str, *texts: str) -> list[Seen]:
        return [see(observation(target, serial(text), repeat=number), BLANK) for number, text in enumerate(texts)]

    left = boots("bochs", PASS, PASS, PASS)
    (result,) = judge(MANIFEST, [], (BOCHS, left), (KVM, boots("kvm", PASS, FAIL, PASS)))
    assert (result.verdict, result.boots) == (Verdict.FLAKY, "2/3")
    (same,) = judge(MANIFEST, [], (BOCHS, left), (KVM, boots("kvm", FAIL, FAIL, FAIL)))
    assert (same.verdict, same.boots) == (Verdict.SUBJECT_WRONG, "3/3")


FREE = Manifest(name="x", image="x.img")


def test_free_text_agrees_on_its_terminal_line() -> None:
    ends = {"left_end": Ending.HALTED, "right_end": Ending.HALTED}
    (result,) = one(b"tsc 1\nall done\n", b"tsc 2\nall done\n", manifest=FREE, **ends)
    assert (result.check, result.verdict) == (IMAGE, Verdict.AGREE)
    (result,) = one(b"all done\n", b"not done\n", manifest=FREE, **ends)
    assert result.verdict == Verdict.DIFFER
    judged = msgspec.structs.replace(FREE, right="all done", wrong="not done")
    (result,) = one(b"all done\n", b"not done\n", manifest=judged, **ends)
    assert result.verdict == Verdict.SUBJECT_WRONG


def test_two_silent_images_do_not_agree() -> None:
    (result,) = one(b"", b"", manifest=FREE, left_end=Ending.HALTED, right_end=Ending.HALTED)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "showed nothing" in result.reason


def test_firmware_text_is_no_evidence() -> None:
    screen = msgspec.structs.replace(BLANK, text=["SeaBIOS (version 1)", "Booting from Hard Disk...", *[""] * 23])
    seen = see(observation("bochs", b"", Ending.HALTED), screen)
    (result,) = judge(FREE, [], (BOCHS, [seen]), (KVM, [seen]))
    assert result.verdict == Verdict.INCONCLUSIVE


def test_checks_known_from_the_build_but_never_reported_are_told() -> None:
    left = see(observation("bochs", serial(PASS)), BLANK)
    results = judge(MANIFEST, [About(check="never")], (BOCHS, [left]), (KVM, [left]))
    assert results[0].check == "never"
    assert results[0].verdict == Verdict.INCONCLUSIVE


def test_exit_codes() -> None:
    assert exit_code([(Verdict.AGREE, True), (Verdict.SKIPPED, True)]) == ExitCode.EXPECTED
    assert exit_code([(Verdict.INCONCLUSIVE, False), (Verdict.SUBJECT_WRONG, True)]) == ExitCode.NO_VERDICT
    assert exit_code([(Verdict.INCONCLUSIVE, False), (Verdict.FLAKY, False)]) == ExitCode.DIVERGED
    assert exit_code([(Verdict.AGREE, False)]) == ExitCode.DIVERGED
