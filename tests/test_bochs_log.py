"""What Bochs' log says of panics."""

from __future__ import annotations

from emulators.bochs.log import after_panic, log_end, panics
from emulators.observation import Ending

PANIC = b"00004373666p[PIC   ] >>PANIC<< write to port 0x20 = 0x01\n"
# What is logged as a panic is an end of the guest's, or the BIOS' word for an image that gives up.
OTHERS = [
    b"00000000000p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n",
    b"00000000001p[ACPI  ] >>PANIC<< ACPI control: soft power off\n",
    b"00000000002p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution\n",
    b"00000000003p[BIOS  ] >>PANIC<< No bootable device.\n",
    b"00000000003p[SDL2  ] >>PANIC<< User requested shutdown.\n",
    b"00000000004e[PIC   ] write to port 0x20 = 0x01\n",
]


def test_what_bochs_gives_up_on_is_a_panic_once() -> None:
    assert panics(PANIC + b"00004373667i[CPU0  ] on\n" + PANIC) == ["[PIC   ] >>PANIC<< write to port 0x20 = 0x01"]


def test_what_bochs_only_reports_ends_no_boot() -> None:
    cpu = b"00004373668p[CPU0  ] >>PANIC<< VMENTER FAIL\n"
    assert log_end(PANIC + cpu, 1, 1) == (None, 1)
    end, _ = log_end(PANIC + cpu + b"00004373669i[CPU0  ] HLT instruction with IF=0!\n", 1, 1)
    assert end is not None and end[0] == Ending.HALTED


def test_a_bochs_that_leaves_says_what_it_gave_up_on_last() -> None:
    assert after_panic(PANIC) == " after a panic: [PIC   ] >>PANIC<< write to port 0x20 = 0x01"
    assert after_panic(b"".join(OTHERS)) == ""


def test_an_end_that_the_guest_asked_for_is_none() -> None:
    assert panics(b"".join(OTHERS)) == []
    assert len(panics(b"".join([*OTHERS, PANIC]))) == 1
