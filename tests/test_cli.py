"""The command line: exit codes, errors that say what to do, and help that is instant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TERM": "dumb"}


def difftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "difftest.cli", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)


@pytest.mark.parametrize("command", [[], ["run"], ["list"], ["show"], ["report"], ["doctor"]])
def test_every_command_has_help(tmp_path: Path, command: list[str]) -> None:
    done = difftest(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (["run", "no-such-case"], "no case is called no-such-case", "difftest list"),
        (["run", "none.img"], "no such image", "difftest list"),
        (["run", "--group", "none"], "no case is in group none", "groups:"),
        (["run", "ept-pdpte-load", "-t", "xen"], "no target is called xen", "targets: bochs"),
        (["run", "ept-pdpte-load", "-k", "none"], "no check called none", "checks: mapped"),
        (["run", "ept-pdpte-load", "-t", "kvm-hosted", "--kernel", "9.9"], "no kernel 9.9", "there are:"),
        (["run", "ept-pdpte-load", "-t", "kvm-hosted", "--kernel", "./none.deb"], "no such file", "--kernel takes"),
        (["run", "ept-pdpte-load", "--cpu-model", "i386"], "no CPU model i386", "corei7_haswell_4770"),
        (["report"], "no run latest", "difftest run"),
        (["report", "gone"], "no run gone", "difftest run"),
    ],
)
def test_wrong_usage_says_what_to_do_and_exits_2(tmp_path: Path, arguments: list[str], words: str, hint: str) -> None:
    done = difftest(tmp_path, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr and hint in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_exits_2(tmp_path: Path) -> None:
    assert difftest(tmp_path, "run", "--no-such-option").returncode == 2


def test_a_file_that_is_no_disk_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.img").write_text("hello")
    done = difftest(tmp_path, "run", "text.img")
    assert done.returncode == 2
    assert "no boot signature" in done.stderr


def test_a_kernel_that_apt_does_not_have_is_told_with_those_it_has(tmp_path: Path) -> None:
    done = difftest(tmp_path, "doctor", "--kernel", "1.2.3")
    assert done.returncode == 2
    assert "no kernel 1.2.3" in done.stderr and "there are:" in done.stderr


def test_list_and_show_tell_checks_and_sdm_sections(tmp_path: Path) -> None:
    listed = difftest(tmp_path, "list", "--checks")
    assert listed.returncode == 0
    assert "ept-pdpte-load" in listed.stdout and "PDPTE Registers" in listed.stdout
    shown = difftest(tmp_path, "show", "ept-pdpte-load")
    assert "known: not-present: subject-wrong" in shown.stdout


def test_help_imports_no_heavy_library(tmp_path: Path) -> None:
    code = "import sys, difftest.cli; print(sorted({'pandas', 'PIL', 'qemu', 'pytesseract', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.strip() == "[]"
