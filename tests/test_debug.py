"""`difftest debug`: both debuggers stop where the check begins, and take commands from the input."""

from __future__ import annotations

import subprocess
import sys

import pytest

from difftest.export.subject import subject
from difftest.image.check_code import body_of
from difftest.image.symbols import ELF, symbols_of
from emulators.host.files import cache_folder

CHECK = "ept-pdpte-load/not-present"


def debugged(side: str, commands: str) -> str:
    argv = [sys.executable, "-m", "difftest.cli", "debug", CHECK, "--side", side]
    done = subprocess.run(argv, input=commands, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def beginning() -> int:
    place = body_of(subject(CHECK, [], cache_folder()).image.read_bytes(), "not-present")
    assert place is not None
    return place


def test_another_side_is_refused() -> None:
    argv = [sys.executable, "-m", "difftest.cli", "debug", CHECK, "--side", "tcg"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--side takes no tcg" in done.stderr


def test_the_check_is_among_the_symbols() -> None:
    symbols = symbols_of(subject(CHECK, [], cache_folder()).image.with_name(ELF))
    assert symbols[beginning()].endswith("check_not_present")


@pytest.mark.boots
def test_bochs_stops_at_the_check() -> None:
    said = debugged("bochs", "r\ns\nquit\n")
    assert f"stops at {beginning():#x}" in said and "check_not_present" in said
    assert f"rip: 00000000_{beginning():08x}" in said


@pytest.mark.hosted
@pytest.mark.proof
def test_gdb_stops_kvm_at_the_check() -> None:
    said = debugged("kvm", "p/x $pc\ninfo symbol $pc\nsi\nkill\nquit\n")
    assert f"= {beginning():#x}" in said and "check_not_present in section" in said
