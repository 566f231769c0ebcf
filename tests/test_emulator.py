"""Adding an emulator as docs/emulator.md says: the two files that stand there, a line in the registry, and a row in the
table of versions.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emulators.registry import TARGETS
from emulators.target import Target
from emulators.versions import VERSION_OPTIONS

from .guests import HALT, boot_sector

ROOT = Path(__file__).parent.parent
LINES = """
from emulators import registry, versions
from echo.target import Echo
from row import ROW
registry.TARGETS.append(Echo)
versions.VERSION_OPTIONS.append(ROW)
from difftest.cli import main
main()
"""


def written(folder: Path) -> Path:
    """The example's package, below a folder of its own."""
    text = (ROOT / "docs/emulator.md").read_text(encoding="utf-8")
    code, row = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    package = folder / "package" / "echo"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "target.py").write_text(code)
    (package.parent / "row.py").write_text(f"from emulators.versions import VersionOption\n\nROW = {row}")
    return package.parent


def difftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line with that line in the registry and that row in the table."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder / 'package'}", "TERM": "dumb"}
    argv = [sys.executable, "-c", LINES, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_it_passes_the_type_checker(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "-p", "echo"]
    environment = {**os.environ, "MYPYPATH": f"{ROOT}:{written(tmp_path)}"}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout


def test_constructors_take_what_the_registry_gives_them() -> None:
    """A name that it has not is never given; one that nobody takes means nothing."""
    taken = {target: set(inspect.signature(target).parameters) for target in TARGETS}
    assert set().union(*taken.values()) == {option.name for option in VERSION_OPTIONS} | {"cache", "cold", "exits"}
    for option in VERSION_OPTIONS:
        assert {target.name for target, names in taken.items() if option.name in names} == set(option.targets)


def test_a_target_without_what_only_it_can_say_is_refused() -> None:
    class Nothing(Target):
        name = implementation = "nothing"

    with pytest.raises(TypeError, match=r"identity.*session|session.*identity"):
        Nothing()  # type: ignore[abstract]


def test_its_version_is_an_option_of_the_commands(tmp_path: Path) -> None:
    written(tmp_path)
    for command in ("run", "bisect"):
        words = difftest(tmp_path, command, "--help").stdout.split()
        assert "--echo" in words and "echo says it has." in " ".join(words)
        assert ("it has. Repeatable." in " ".join(words)) == (command == "run")
    (tmp_path / "x.img").write_bytes(bytes(510) + b"\x55\xaa")
    done = difftest(tmp_path, "run", "x.img", "-t", "tcg", "--echo", "2.0")
    assert done.returncode == 2 and "--echo is for echo, which does not take part" in done.stderr


@pytest.mark.boots
def test_runs_of_its_versions_say_which(tmp_path: Path) -> None:
    written(tmp_path)
    unlike = boot_sector(tmp_path, b"more than the message: unlike\n", HALT)
    done = difftest(tmp_path, "run", str(unlike), "--echo", "2.0", "--echo", "3.0", "--confirm", "none")
    assert "Echo 2.0" in done.stdout and "Echo 3.0" in done.stdout, done.stdout + done.stderr
    runs = {
        json.loads(path.read_bytes())["identities"]["echo"]["echo"]: path.parent
        for path in (tmp_path / "results").glob("2*/run.json")
    }
    assert runs.keys() == {"2.0", "3.0"}
    for version, run in runs.items():
        shown = difftest(tmp_path, "report", str(run)).stdout
        assert f"--target echo --echo {version}" in " ".join(shown.split())


@pytest.mark.boots
def test_a_case_runs_on_it_to_a_verdict(tmp_path: Path) -> None:
    written(tmp_path)
    assert "echo: ready" in difftest(tmp_path, "doctor").stdout
    alike = boot_sector(tmp_path, b"message: alike\n", HALT)
    done = difftest(tmp_path, "run", str(alike), "--target", "echo")
    assert done.returncode == 0 and "1 agree" in done.stdout, done.stdout + done.stderr
    run = json.loads((tmp_path / "results/latest/run.json").read_bytes())
    assert run["identities"]["echo"] == {"echo": "1.0"}
    unlike = boot_sector(tmp_path, b"more than the message: unlike\n", HALT)
    done = difftest(tmp_path, "run", str(unlike), "--target", "echo")
    assert done.returncode == 1 and "Echo gave message: unlike" in " ".join(done.stdout.split()), done.stdout
    made = difftest(tmp_path, "bundle", "image")
    assert made.returncode == 0, made.stderr
