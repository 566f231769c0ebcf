"""The command line: exit codes, errors that say what to do, and help that is instant."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difftest.cli import COMMANDS
from difftest.commands.options import EXIT_CODES
from difftest.errors import TRACEBACK, error_report
from difftest.verdict import ExitCode
from emulators.host.errors import ChoiceError, EmulatorError

from . import mirror

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TERM": "dumb"}


def difftest(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "difftest.cli", *arguments]
    env = ENVIRONMENT | environment
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=env)


# One command with a mistake of ours in it, or one that waits to be interrupted, in the place of the real one.
REPLACED = """
import sys, time
from importlib import import_module
from difftest import cli
from pathlib import Path

def wait():
    Path("ready").touch()
    time.sleep(3)

command = cli.COMMANDS[sys.argv[1]]
setattr(import_module(f"difftest.commands.{command.module}"), command.function, BODY)
cli.main()
"""


def replaced(folder: Path, body: str, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", REPLACED.replace("BODY", body), command]
    env = ENVIRONMENT | environment
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=env)


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
        (["run", "ept-pdpte-lod"], "no case is called ept-pdpte-lod", "near: ept-pdpte-load"),
        (["run", "ept-pdpte-load", "paging", "-k", "P-09/x"], "no check called P-09/x", "near: L1-09"),
        (["run", "--group", "none"], "no case is in group none", "groups:"),
        (["run", "ept-pdpte-load", "-t", "xen"], "no target is called xen", "targets: kvm"),
        (["run", "ept-pdpte-load", "-k", "none"], "no check called none", "there are: mapped, not-present"),
        (["run", "ept-pdpte-load", "-t", "kvm-hosted", "--kernel", "./none.deb"], "no such file", "--kernel takes"),
        (["run", "ept-pdpte-load", "--cpu-model", "i386"], "no CPU model i386", "corei7_haswell_4770"),
        (["run", "ept-pdpte-load", "-t", "kvm-hosted", "--host-cpu-model", "i286"], "no CPU model i286", "corei3_cnl"),
        (["run", "ept-pdpte-load", "-t", "tcg", "--host-cpu-model", "tigerlake"], "--host-cpu-model is for kvm-h", ""),
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
            ["run", "ept-pdpte-load", "-t", "tcg", "--exits"],
            "--exits is for kvm-hosted, which does not take part",
            "--target kvm-hosted",
        ),
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
        (["run", "ept-pdpte-load", "-t", "bochs"], "bochs is the reference", "kvm, kvm-hosted, tcg"),
        (["run", "ept-pdpte-load", "-t", ","], "'--target': it names nothing", "difftest.cli run --help"),
        (["run", "ept-pdpte-load", "--timeout", "nan"], "'--timeout': nan is no number", "--help"),
        (["run", "ept-pdpte-load", "--timeout", "inf"], "'--timeout': inf is no number", "--help"),
        (["add", "x.img", "--quiet-seconds", "nan"], "nan is no number", "--help"),
        (["bisect", "x", "--good", "1", "--bad", "2", "--timeout", "-1"], "-1 is no number", "--help"),
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


@pytest.mark.parametrize(
    ("models", "words", "hint"),
    [
        ('{tcg = "Haswel"}', "mine: tcg: QEMU", "Haswell"),
        ('{kvm-hostd = "max"}', "no target is called kvm", "tcg"),
    ],
)
def test_an_unknown_cpu_model_is_named_before_anything_is_booted(
    tmp_path: Path, models: str, words: str, hint: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/case.toml").write_text(f'name = "mine"\nimage = "a.img"\ncpu_models = {models}\n')
    (tmp_path / "mine/a.img").write_bytes(bytes(510) + b"\x55\xaa")
    done = difftest(tmp_path, "run", "mine/", "-t", "tcg")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and hint in done.stderr and not (tmp_path / "results").exists()


def test_an_unknown_emulated_cpu_is_named_before_anything_is_booted(tmp_path: Path) -> None:
    assert difftest(tmp_path, "new", "mine").returncode == 0
    with (tmp_path / "mine/case.toml").open("a") as manifest:
        manifest.write('[[machine]]\nchecks = ["*"]\nemulated_cpu = "broadwel"\n')
    done = difftest(tmp_path, "run", "mine/", "-t", "tcg")
    assert done.returncode == 2, done.stderr
    assert "mine: bochs: Bochs" in done.stderr and "no CPU model broadwel" in done.stderr
    assert "broadwell_ult" in done.stderr and not (tmp_path / "results").exists()


def test_what_a_manifest_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "cases/mine").mkdir(parents=True)
    (tmp_path / "cases/mine/case.toml").write_text(
        'name = "mine"\nimage = "a.img"\ntitle = "\\u001b[2J"\ngroups = ["\\u001b[1m"]\n'
    )
    done = difftest(tmp_path, "list", "--cases", "cases")
    assert done.returncode == 0 and "\\x1b[2J" in done.stdout and "\x1b" not in done.stdout


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
        assert done.returncode == 5
        assert "no kernel 1.2.3" in done.stderr or "no Bochs 9.9" in done.stderr
        assert "Could not connect" in done.stderr and "there are: none" in done.stderr
    listed = difftest(tmp_path, "kernels", **more)
    assert listed.returncode == 0 and "none" in listed.stdout and "Could not connect" in listed.stderr


@pytest.mark.parametrize("option", ["--bochs", "--qemu"])
def test_an_emulator_that_does_not_start_is_the_machines_fault(tmp_path: Path, option: str) -> None:
    (tmp_path / "broken").write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / "broken").chmod(0o755)
    done = difftest(tmp_path, "run", "ept-pdpte-load", "-t", "tcg", option, "./broken")
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: ") and "broken" in done.stderr and "Exec format error" in done.stderr


def test_list_and_show_tell_checks_and_sdm_sections(tmp_path: Path) -> None:
    listed = difftest(tmp_path, "list", "--checks")
    assert listed.returncode == 0
    assert "ept-pdpte-load" in listed.stdout and "PDPTE Registers" in listed.stdout
    shown = difftest(tmp_path, "show", "ept-pdpte-load")
    assert "known: not-present: subject-wrong" in shown.stdout


def test_help_imports_no_heavy_library(tmp_path: Path) -> None:
    heavy = {"pandas", "PIL", "qemu", "debian", "jinja2", "regex", "packaging"}
    code = f"import sys, difftest.cli; print(sorted({heavy} & set(sys.modules)))"
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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_of_ours_is_told_as_one_and_where_it_is_if_asked(tmp_path: Path, command: str) -> None:
    plain = replaced(tmp_path, "lambda: 1 / 0", command)
    assert plain.returncode == ExitCode.INTERNAL
    assert "difftest itself failed: ZeroDivisionError" in plain.stderr and f"hint: set {TRACEBACK}=1" in plain.stderr
    assert "Traceback" not in plain.stderr
    shown = replaced(tmp_path, "lambda: 1 / 0", command, **{TRACEBACK: "1"})
    assert shown.returncode == ExitCode.INTERNAL
    assert "Traceback" in shown.stderr and "<lambda>" in shown.stderr and "difftest itself failed" in shown.stderr


def test_an_error_of_the_user_shows_its_traceback_only_if_asked(tmp_path: Path) -> None:
    assert "Traceback" not in difftest(tmp_path, "show", "none", **{TRACEBACK: "0"}).stderr
    shown = difftest(tmp_path, "show", "none", **{TRACEBACK: "1"})
    assert shown.returncode == 2 and "Traceback" in shown.stderr and "error: no case is called none" in shown.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EmulatorError("the mirror does not answer"), ExitCode.HOST),
        (ChoiceError("no such version"), ExitCode.USAGE),
        (OSError(28, "No space left on device", "/tmp/x"), ExitCode.HOST),
        (FileNotFoundError(2, "No such file"), ExitCode.INTERNAL),
        (MemoryError(), ExitCode.HOST),
        (BaseExceptionGroup("", [ValueError(), ExceptionGroup("", [OSError(5, "I/O error")])]), ExitCode.HOST),
        (BaseExceptionGroup("", [ValueError(), KeyError()]), ExitCode.INTERNAL),
    ],
)
def test_whose_fault_an_error_is(error: BaseException, code: ExitCode) -> None:
    assert error_report(error).code == code


def test_every_exit_code_is_in_the_help() -> None:
    assert [code for code in ExitCode if f" {code.value} " not in EXIT_CODES] == []


def test_an_output_that_takes_nothing_is_the_machines_fault(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "difftest.cli"]
    for arguments in (["list"], ["--version"], ["run", "--help"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*argv, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, env=ENVIRONMENT
            )
        assert done.returncode == ExitCode.HOST
        assert done.stderr.decode().startswith("error: cannot write the output: No space left on device\nhint: ")
        assert done.stderr.count(b"error") == 1
    with Path("/dev/full").open("wb") as full:  # and the errors, too
        done = subprocess.run([*argv, "show", "none"], stdout=full, stderr=full, check=False, env=ENVIRONMENT)
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("| head -n 1", 0),
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&- <&-", 0),
        ("2>&1 | head -n 0", 0),
    ],
)
def test_a_reader_that_goes_away_changes_nothing(tmp_path: Path, ends: str, code: int) -> None:
    script = f"set -o pipefail; {sys.executable} -m difftest.cli list --checks {ends}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, env=ENVIRONMENT)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr and b"error" not in done.stderr.lower()


def test_the_exit_code_is_that_of_the_command_when_nobody_reads(tmp_path: Path) -> None:
    for ends in ("2>&1 | head -n 0", ">&- 2>&-"):
        script = f"set -o pipefail; {sys.executable} -m difftest.cli show none {ends}"
        assert subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, env=ENVIRONMENT).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("ignored", [False, True])
def test_signals_interrupt_unless_they_are_ignored(tmp_path: Path, number: signal.Signals, ignored: bool) -> None:
    def ignore() -> None:
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)

    argv = [sys.executable, "-c", REPLACED.replace("BODY", "wait"), "list"]
    with subprocess.Popen(argv, cwd=tmp_path, env=ENVIRONMENT, preexec_fn=ignore) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        assert process.wait(timeout=30) == (0 if ignored else ExitCode.INTERRUPTED)
