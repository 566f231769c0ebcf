"""Boots that did not both come to an end, or left through a port: what is said of them, and what is compared."""

from __future__ import annotations

import pytest

from difftest.judging.result import Result
from difftest.reading.exception_dump import exception_dump
from difftest.verdict import Verdict
from emulators.observation import TEXT_BYTES, Ending
from tests.sides import FREE, boot, judged

LEFT = "the guest left through port 0xF4 with code 1"


def result(left: tuple[bytes, Ending], right: tuple[bytes, Ending], **details: str) -> Result:
    """Of two boots: what each said and how it ended."""
    sides = [boot(name, *said, detail=details.get(name, "")) for name, said in (("bochs", left), ("kvm", right))]
    found = judged([sides[0]], [sides[1]], manifest=FREE)
    return next(one for one in found if one.check == "image")


@pytest.mark.parametrize("ending", [Ending.QUIET, Ending.TOTAL, Ending.FLOOD])
@pytest.mark.parametrize(
    "said", [b"", b"one\ntwo\n", b"prompt> ", b"all done\n", b"PASS\n", b"Unhandled exception 13 #GP\n"]
)
def test_two_hangs_never_agree(said: bytes, ending: Ending) -> None:
    found = result((said, ending), (said, ending))
    assert found.verdict == Verdict.INCONCLUSIVE
    if said:
        assert any("--end " in hint for hint in found.hints), found.hints


def test_what_each_side_did_last_is_said_where_only_one_came_to_an_end() -> None:
    endless = result((b"0\n1\n2\n", Ending.TOTAL), (b"0\n", Ending.QUIET))
    assert endless.verdict == Verdict.INCONCLUSIVE
    (hint,) = endless.hints
    assert "bochs went on until it was stopped, at last with '2'; kvm fell silent after '0'" in hint
    assert "that is a difference" in hint and "--timeout" in hint
    one = result((b"0\nend\n", Ending.HALTED), (b"0\n", Ending.QUIET))
    assert "bochs came to its end with 'end'; kvm fell silent after '0'; that is a difference" in one.hints[0]
    apart = result((b"0\n1\n", Ending.QUIET), (b"0\n", Ending.QUIET))
    assert "that is a difference" in apart.hints[0]
    assert not result((b"a\n", Ending.HALTED), (b"a\n", Ending.HALTED)).hints


def test_a_guest_that_could_not_be_seen_is_no_difference() -> None:
    bochs = boot("bochs", b"", Ending.QUIET, text_memory=bytes(TEXT_BYTES))
    for memory in (None, bytes(TEXT_BYTES)):
        (found,) = judged([bochs], [boot("kvm", b"", Ending.QUIET, text_memory=memory)], manifest=FREE)
        assert found.verdict == Verdict.INCONCLUSIVE
        assert ("nothing of the guest on kvm could be seen" in found.hints[0]) == (memory is None), found.hints


def test_what_the_other_side_said_after_the_exit_is_not_compared() -> None:
    left, right = (b"a\nresult 1\nstill here\n", Ending.HALTED), (b"a\nresult 1\n", Ending.POWER_OFF)
    assert result(left, right, kvm=LEFT).verdict == Verdict.AGREE
    assert result(left, right, kvm="the guest switched the machine off").verdict == Verdict.DIFFER
    otherwise = (b"a\nresult 2\nstill here\n", Ending.HALTED)
    assert result(otherwise, right, kvm=LEFT).verdict == Verdict.DIFFER, "it had said something else before"


DUMP = (
    b"one\nUnhandled exception 13 #GP at ip 0000000000400a3b\nerror_code=%s      rflags=00010002\n"
    b"rax=0\n\tSTACK: @400a3b\n"
)


@pytest.mark.parametrize("ending", [Ending.HALTED, Ending.QUIET, Ending.POWER_OFF])
def test_two_sides_that_die_in_different_exceptions_differ(ending: Ending) -> None:
    found = result((DUMP % b"fffc", ending), (DUMP % b"0000", ending))
    assert found.verdict == Verdict.DIFFER and "exception" in found.reason
    (field,) = [field for field in found.fields if field.name == "exception"]
    assert field.differs and "error code fffc" in field.values["bochs"]
    alone = result((DUMP % b"fffc", ending), (b"one\nall went well\n", Ending.HALTED))
    assert alone.verdict == Verdict.DIFFER


@pytest.mark.parametrize(
    ("said", "dump"),
    [
        (DUMP % b"fffc", "Unhandled exception 13 #GP at ip 0000000000400a3b; error code fffc"),
        (b"Unhandled cpu exception #UD at 0x10\n", "Unhandled cpu exception #UD at 0x10"),
        (b"FATAL PAGE FAULT\nError code: 0x2\n", "FATAL PAGE FAULT; error code 2"),
        (b"Page fault at 0x1234, error=0x3\n", "Page fault at 0x1234, error=0x3"),
        (b"PASS: unexpected page fault is reported\n", ""),
        (b"testing page faults\n", ""),
        (DUMP % b"0" + b"more\n" * 50, ""),
        (b"", ""),
        (b"\xff\x00 exception\n" * 3, ""),
    ],
)
def test_the_dump_of_an_exception_is_found_at_the_end(said: bytes, dump: str) -> None:
    assert exception_dump(said) == dump
