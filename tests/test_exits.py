"""Which exits L0 handled in each check: logs of real boots, what is left out and what is not, and lines that lie."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftest.case.case import BUNDLED, load
from difftest.image.prepare import prepare, with_checks
from difftest.image.symbols import with_names
from difftest.reading.exits import STAGE, Exit, ExitHandling, L0View, Trace, Window, exits_of, l0_view, parse_exits
from difftest.report.exits import SHOWN, exits_in_words, exits_report
from difftest.verdict import Verdict
from emulators.observation import EXITS_LOG

from . import sample_run
from .sides import FAIL, PASS, boot, judged, serial

DATA = Path(__file__).parent / "data" / "exits"
HEAD, END = "difftest exits 1\n", "end cut=0 lost=0\n"


def stored(case: str, kernel: str) -> Trace:
    trace = parse_exits((DATA / f"{case}-{kernel}.log").read_bytes())
    assert not trace.problems
    return trace


def seen(case: str, kernel: str, check: str) -> L0View:
    return l0_view(stored(case, kernel).windows[check])


def one(*lines: str, tail: str = END) -> Window:
    """The window of check 0 with these lines in it."""
    body = "".join(f"0 {line}\n" for line in ("start", *lines, "report"))
    trace = parse_exits((HEAD + body + tail).encode())
    assert not trace.problems
    return trace.windows["0"]


def names(exits: Sequence[Exit]) -> list[str]:
    return [f"{exit.level} {exit.name} {exit.place}" for exit in exits]


# What is known of KVM: 6.1 and later leave CR0.WP to a guest, 5.10 does not.
@pytest.mark.parametrize(
    ("case", "check", "place"),
    [
        ("pdpte", "P-09/wp", "L1 CR_ACCESS mov_to_cr0_instruction"),
        ("nested-pdpte", "L2-19/wp", "L2 CR_ACCESS l2_mov_cr0"),
    ],
)
def test_wp_is_seen_by_5_10_and_left_to_the_cpu_by_6_1(case: str, check: str, place: str) -> None:
    old, new = seen(case, "5.10", check), seen(case, "6.1", check)
    assert names(old.instructions) == [place] and old.instructions[0].handling is ExitHandling.HANDLED
    assert not old.cpu_alone and not old.never
    assert new.cpu_alone


def test_an_access_that_the_cpu_makes_by_itself_is_told_from_the_instruction() -> None:
    """The CPU loads the PDPTEs at a MOV to CR0 that L0 never gets, and L0 answers the EPT violation."""
    view = seen("nested-pdpte", "6.1", "L2-19/wp")
    assert not view.instructions and not view.never
    assert [(exit.name, exit.handling) for exit in view.accesses] == [("EPT_VIOLATION", ExitHandling.WRITTEN)]


@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
@pytest.mark.parametrize("check", ["L2-17/mapped", "L2-17/mov-cr3", "L2-19/clts", "L2-19/ts"])
def test_mov_to_cr3_clts_and_ts_in_l2_never_exit(kernel: str, check: str) -> None:
    view = seen("nested-pdpte", kernel, check)
    assert view.level == "L2" and view.cpu_alone
    assert view.never is (check in ("L2-17/mapped", "L2-19/clts"))


@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
@pytest.mark.parametrize("check", ["P-10/ts", "P-11/clts"])
def test_neither_do_clts_and_ts_in_l1(kernel: str, check: str) -> None:
    assert seen("pdpte", kernel, check).never


@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
def test_mov_to_cr0_that_sets_pg_in_l2_is_carried_out_by_l0(kernel: str) -> None:
    for check, exceptions in (("L2-01/mapped", ()), ("L2-01/not-present", (13,))):
        view = seen("nested-pdpte", kernel, check)
        (exit,) = view.instructions
        assert (exit.level, exit.name, exit.place, exit.count) == ("L2", "CR_ACCESS", "l2_mov_cr0", 1)
        assert (exit.handling, exit.exceptions) == (ExitHandling.HANDLED, exceptions)
        assert not view.accesses


def test_outcomes() -> None:
    window = one(
        "L2 28 CR_ACCESS 0x1 0x0 exit=28 x3",
        "L2 28 CR_ACCESS 0x1 0x0",
        "L2 28 CR_ACCESS 0x1 0x0 exit=0",
        "L2 48 EPT_VIOLATION 0x1 0x1 exit=48",
    )
    outcomes = [(exit.handling.value, exit.count) for exit in l0_view(window).instructions]
    assert outcomes == [("reflected", 3), ("handled", 1), ("written", 1)]
    assert [exit.handling.value for exit in l0_view(window).accesses] == ["written"]


def test_what_is_none_of_the_check_is_left_out() -> None:
    l2 = one(
        "L1 28 CR_ACCESS 0x1 0x0",
        "L1 20 VMLAUNCH - -",
        "L2 52 PREEMPTION_TIMER 0x1 0x0",
        "L2 1 EXTERNAL_INTERRUPT 0x1 0x0",
        "L2 48 EPT_VIOLATION 0x1 0x184 x3",
        "L2 49 EPT_MISCONFIG 0x1 0x0",
        "L2 18 VMCALL 0x2 0x0 exit=18",
    )
    assert l0_view(l2).never and l0_view(l2).level == "L2" and l0_view(l2).mapped == 4
    window = one(
        "L2 52 PREEMPTION_TIMER 0x1 0x0 exit=52", "L2 48 EPT_VIOLATION 0x1 0x1 exception=13", "L2 18 VMCALL 0x2 0x0"
    )
    assert [exit.reason for exit in l0_view(window).instructions] == [52, 18]
    assert [exit.reason for exit in l0_view(window).accesses] == [48]


def test_stage_work_of_the_kit_in_l1_is_known_by_its_names() -> None:
    lines = ("L1 28 CR_ACCESS 0x10010 0x0", "L1 28 CR_ACCESS 0x10020 0x0")
    staged = END + "place 0x10010 mode.c:load\nplace 0x10020 mov_to_cr0_instruction\n"
    assert names(l0_view(one(*lines, tail=staged)).instructions) == ["L1 CR_ACCESS mov_to_cr0_instruction"]
    assert len(l0_view(one(*lines)).instructions) == 2, "without names nothing can be left out"


def test_a_window_is_whole_only_where_nothing_can_be_missing() -> None:
    silent = "difftest exits 1\n0 start\n0 report\n1 start\n"
    for tail, whole in (
        (END, {"0": True, "1": True}),
        ("end cut=3 lost=0\n", {"0": True, "1": False}),
        ("", {"0": True, "1": False}),
        ("end cut=0 lost=1\n", {"0": False, "1": False}),
    ):
        trace = parse_exits((silent + tail).encode())
        assert {name: window.complete for name, window in trace.windows.items()} == whole
        assert {name: l0_view(window).never for name, window in trace.windows.items()} == whole


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("0 start\n0 report\n0 start\n0 report\n", "check 0 starts twice"),
        ("0 start\n1 report\n", "check 1 reports and has not started"),
        ("0 start\n1 L1 28 CR_ACCESS 0x1 0x0\n", "an exit outside its check"),
        ("0 start\n- L1 28 CR_ACCESS 0x1 0x0\n", "an exit outside its check"),
        ("1 L1 28 CR_ACCESS 0x1 0x0\n", "an exit outside its check"),
        ("0 L3 28 CR_ACCESS 0x1 0x0\n", "unknown line"),
        ("0 L1 28 CR_ACCESS 0x1 0x0 junk\n", "unknown line"),
        ("0 L1 28 \x1b[31m 0x1 0x0\n", "unknown line"),
        ("problem no tracefs\n", "no tracefs"),
        ("end cut=0 lost=2\n", "lost events"),
    ],
)
def test_what_does_not_fit_is_a_problem(lines: str, problem: str) -> None:
    trace = parse_exits((HEAD + lines).encode())
    assert problem in trace.problems[0] and "\x1b" not in trace.problems[0]
    assert not (set(trace.windows) & {"0"} and "twice" in problem and trace.windows["0"].complete)
    assert parse_exits(b"difftest exits 2\n").problems and parse_exits(b"").problems


@given(
    st.binary(max_size=400),
    st.lists(st.sampled_from(["0 start", "0 report", "0 L2 28 A 0x1 0x2 x9", "end cut=0 lost=0"])),
)
def test_any_log_can_be_read(tail: bytes, lines: list[str]) -> None:
    trace = parse_exits((HEAD + "\n".join(lines) + "\n").encode() + tail)
    for window in trace.windows.values():
        assert exits_in_words(l0_view(window))


def test_told_in_words() -> None:
    assert exits_in_words(seen("nested-pdpte", "6.1", "L2-01/not-present")) == (
        "MOV to CR0 x1 (in L2 at l2_mov_cr0, L0 alone, #GP injected)"
    )
    assert exits_in_words(seen("nested-pdpte", "6.1", "L2-17/mov-cr3")) == (
        "EPT violation x1 (in L2 at l2_mov_cr3, L0 made EPT violation for L1); no instruction of L2 exited"
    )
    assert exits_in_words(seen("pdpte", "6.1", "P-09/wp")) == ("nothing: no instruction of L1 exited")
    window = one("L2 0 EXCEPTION_NMI 0x1 0x6 exit=0", "L2 28 CR_ACCESS 0x1 0x20 x3", "L1 20 VMLAUNCH - - failed")
    assert exits_in_words(l0_view(window)) == "#UD x1 (in L2, reflected to L1); CLTS x3 (in L2, L0 alone)"
    assert exits_in_words(l0_view(one("L1 33 INVALID_STATE 0x1 0x0 failed"))).endswith("L0 alone, the VM entry failed)")
    many = one(*(f"L1 {reason} X{reason} 0x1 0x0" for reason in range(200, 200 + SHOWN + 2)))
    assert exits_in_words(l0_view(many)).endswith("; 2 more kinds")
    cut = msgspec.structs.replace(one(), complete=False)
    assert exits_in_words(l0_view(cut)) == "the record is not whole"


def test_the_report_of_a_run(tmp_path: Path) -> None:
    log = (DATA / "nested-pdpte-6.1.log").read_bytes() + b"problem a `problem`\n"
    run = sample_run.write_run(tmp_path / "with", right=msgspec.structs.replace(sample_run.BAD, logs={EXITS_LOG: log}))
    text = exits_report(run)
    assert "## ept-pdpte-load on kvm-hosted, Linux 6.1.176-1\n" in text
    assert "| `L2-19/clts` | nothing: no instruction of L2 exited, L0 mapped memory x" in text
    assert "L2 3 handled, 1 reflected |" in text
    assert "\nNot whole: a \\`problem\\`\n" in text
    without = exits_report(sample_run.write_run(tmp_path / "without"))
    assert "`difftest run --exits` makes one" in without
    assert exits_of(sample_run.GOOD) is None


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_names_come_from_the_image_that_was_built(tmp_path: Path) -> None:
    (prepared,) = with_checks([prepare(load(BUNDLED / "pdpte"), tmp_path)], ["P-09/wp", "P-10/ts"])
    kit = [load(BUNDLED / name) for name in ("pdpte", "paging", "cr-masks")]
    found = b"".join(_places(prepare(case, tmp_path).image.with_name("case.elf")) for case in kit)
    for name in STAGE:
        assert name.encode() in found, f"the kit has no {name} any more"
    address = next(line.split()[0] for line in found.splitlines() if line.endswith(b" mov_to_cr0_instruction"))
    known, unknown = int(address, 16), (0x12, 0x7C10, 0x7FFF_FFFF)
    log = HEAD.encode() + b"".join(b"- L1 28 CR_ACCESS 0x%x 0x0\n" % place for place in (known, *unknown))
    named = with_names(log, prepared).removeprefix(log).decode().splitlines()
    number = prepared.numbers[0]
    assert number > 0 and named == [
        f"check {number} P-09/wp",
        f"check {prepared.numbers[1]} P-10/ts",
        f"place {known:#x} mov_to_cr0_instruction",
    ]
    foreign = msgspec.structs.replace(prepared, image=tmp_path / "x.img", abouts=(), numbers=())
    assert with_names(log, foreign) == log


def _places(elf: Path) -> bytes:
    from difftest.image.symbols import _symbols

    return b"".join(f"{address:x} {name}\n".encode() for address, name in _symbols(elf))


@pytest.mark.parametrize(
    ("kernel", "words"), [("6.1", "L0 carried out no instruction of L1"), ("5.10", "L0 carried out instructions of L1")]
)
def test_a_shared_failure_says_who_carried_it_out(kernel: str, words: str) -> None:
    """MOV to CR0 that toggles WP exits to L0 on 5.10; 6.1 leaves it to the CPU."""
    said = serial(FAIL).replace(b" c0 ", b" P-09/wp ").replace(b"start c0", b"start P-09/wp")
    log = (DATA / f"pdpte-{kernel}.log").read_bytes()
    hosted = boot("kvm-hosted", said, logs={EXITS_LOG: log})
    right = serial(PASS).replace(b" c0 ", b" P-09/wp ").replace(b"start c0", b"start P-09/wp")
    (result,) = judged([boot("bochs", right)], [hosted], [boot("host-cpu", said)])
    assert result.verdict == Verdict.SHARED
    assert any(words in hint for hint in result.hints), result.hints
    (result,) = judged([boot("bochs", right)], [boot("kvm-hosted", said)], [boot("host-cpu", said)])
    assert not any("carried out" in hint for hint in result.hints), "nothing was recorded"
