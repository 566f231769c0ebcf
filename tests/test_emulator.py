"""Adding an emulator as docs/emulator.md says: the two files that stand there, and a line in the registry."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from emulators.registry import TARGETS, Versions
from emulators.target import Target

from .guests import HALT, boot_sector

ROOT = Path(__file__).parent.parent
REGISTERED = "from emulators import registry; from echo.target import Echo; registry.TARGETS.append(Echo)"


def written(folder: Path) -> Path:
    """The example's package, below a folder of its own."""
    text = (ROOT / "docs/emulator.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    package = folder / "package" / "echo"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "target.py").write_text(code)
    return package.parent


def difftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line with that line in the registry."""
    code = f"{REGISTERED}; from difftest.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder / 'package'}", "TERM": "dumb"}
    argv = [sys.executable, "-c", code, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_it_passes_the_type_checker(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "-p", "echo"]
    environment = {**os.environ, "MYPYPATH": f"{ROOT}:{written(tmp_path)}"}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout


def test_constructors_take_what_the_registry_gives_them() -> None:
    """A name that it has not is never given; one that nobody takes means nothing."""
    given = {field.name for field in msgspec.structs.fields(Versions)} | {"cache", "cold"}
    assert {name for target in TARGETS for name in inspect.signature(target).parameters} == given


def test_a_target_without_what_only_it_can_say_is_refused() -> None:
    class Nothing(Target):
        name = implementation = "nothing"

    with pytest.raises(TypeError, match=r"identity.*session|session.*identity"):
        Nothing()  # type: ignore[abstract]


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
