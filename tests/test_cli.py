"""The command line: exit codes, errors that say what to do, and help that is instant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import mirror

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TERM": "dumb"}


def difftest(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "difftest.cli", *arguments]
    env = ENVIRONMENT | environment
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=env)


COMMANDS = ("run", "list", "show", "new", "add", "report", "compare", "bisect", "kernels", "doctor")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
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
        (["run", "ept-pdpte-load", "-t", "kvm-hosted", "--kernel", "./none.deb"], "no such file", "--kernel takes"),
        (["run", "ept-pdpte-load", "--cpu-model", "i386"], "no CPU model i386", "corei7_haswell_4770"),
        (["run", "ept-pdpte-load", "--kernel", "6.1", "--kernel", "6.1"], "given twice", "a run of its own"),
        (
            ["run", "ept-pdpte-load", "--kernel", "6.1", "--kernel", "7", "--html", "x"],
            "--html goes with one",
            "difftest report",
        ),
        (["run", "ept-pdpte-load", "-t", "tcg", "--bochs", "./none"], "none: no program", "--bochs takes"),
        (["run", "ept-pdpte-load", "-t", "tcg", "--bochs", "/bin/true"], "does not say that it is a Bochs", ""),
        (["run", "ept-pdpte-load", "-t", "tcg", "--qemu", "/bin/true"], "does not say that it is a QEMU", ""),
        (
            ["run", "ept-pdpte-load", "-t", "tcg", "--kernel", "6.1"],
            "for kvm-hosted, which does not take part",
            "--target kvm",
        ),
        (
            ["bisect", "ept-pdpte-load", "--good", "6.1", "--bad", "7.3"],
            "which check of ept-pdpte-load",
            "mapped, not-present",
        ),
        (["bisect", "no-such/check", "--good", "6.1", "--bad", "7.3"], "no case is called no-such", "difftest list"),
        (["compare", "latest"], "takes two runs", "difftest run"),
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


def test_a_mirror_that_does_not_answer_is_told(tmp_path: Path) -> None:
    conf = mirror.apt_of(tmp_path / "apt", one_line="deb http://127.0.0.1:9/debian bookworm main\n")
    more = {"APT_CONFIG": str(conf), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for arguments in (["doctor", "--kernel", "1.2.3"], ["run", "ept-pdpte-load", "-t", "tcg", "--bochs", "9.9"]):
        done = difftest(tmp_path, *arguments, **more)
        assert done.returncode == 2
        assert "no kernel 1.2.3" in done.stderr or "no Bochs 9.9" in done.stderr
        assert "Could not connect" in done.stderr and "there are: none" in done.stderr
    listed = difftest(tmp_path, "kernels", **more)
    assert listed.returncode == 0 and "none" in listed.stdout and "Could not connect" in listed.stderr


def test_list_and_show_tell_checks_and_sdm_sections(tmp_path: Path) -> None:
    listed = difftest(tmp_path, "list", "--checks")
    assert listed.returncode == 0
    assert "ept-pdpte-load" in listed.stdout and "PDPTE Registers" in listed.stdout
    shown = difftest(tmp_path, "show", "ept-pdpte-load")
    assert "known: not-present: subject-wrong" in shown.stdout


def test_help_imports_no_heavy_library(tmp_path: Path) -> None:
    code = "import sys, difftest.cli; print(sorted({'pandas', 'PIL', 'qemu', 'debian', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == "[]"


def test_the_cache_shows_and_clears_what_was_read_and_asked(tmp_path: Path) -> None:
    cache = tmp_path / "cache/difftest"
    for name in ("readings", "answers", "kernels"):
        (cache / name).mkdir(parents=True)
        (cache / name / "one.json").write_text("{}")
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def told(*arguments: str) -> str:
        argv = [sys.executable, "-m", "difftest.cli", "cache", *arguments]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment).stdout

    assert "1 of at most 4096 readings" in told()
    told("--clear")
    assert [path.name for path in cache.iterdir()] == ["kernels"]
    told("--clear", "--everything")
    assert list(cache.iterdir()) == []
