"""The Makefile on a machine that has nothing yet, and what pytest makes of skipped tests and of proofs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOG = "said"
# The programs that change a machine, as far as the Makefile uses them. Each writes what it was asked into the log.
PROGRAMS = {
    "dpkg-query": 'grep -qx "${@: -1}" "$MACHINE/installed" && echo install ok installed',
    "apt-cache": "echo Depends: linux-image",
    "apt-get": """\
[ "$1" = install ] || exit 0
shift
for word; do case $word in -*) ;; *) echo "$word" >>"$MACHINE/installed" ;; esac; done""",
    "sudo": 'exec "$@"',
    "python3": """\
mkdir -p .venv/bin
for name in python pip pytest ruff mypy lint-imports difftest; do
    printf '#!/bin/bash\\necho "%s $*" >>"$MACHINE/said"\\n' "$name" >".venv/bin/$name"
    chmod +x ".venv/bin/$name"
done""",
}
SUITE = """\
import pytest

{first}

@pytest.mark.proof
def test_proof():
    assert True

def test_other():
    assert True
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout with the Makefile alone, on a machine without any package."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in PROGRAMS.items():
        path = programs / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"$MACHINE/{LOG}"\n{script}\n')
        path.chmod(0o755)
    (tmp_path / "installed").touch()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(machine: Path, target: str) -> list[str]:
    """The lines that the programs logged while this target was made."""
    (machine / LOG).write_text("")
    # What a make above this one hands down would change what this one does.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment = plain | {"MACHINE": str(machine), "PATH": f"{machine / 'bin'}:{os.environ['PATH']}"}
    argv = ["make", "-s", "PYTHON=python3", target]
    done = subprocess.run(argv, cwd=machine, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return (machine / LOG).read_text().splitlines()


def test_make_test_after_make_run_installs_what_the_tests_take(machine: Path) -> None:
    """The README's order: the set-up of `run` must not stand in for that of `test`."""
    before = make(machine, "run")
    assert any(line.startswith("difftest run") for line in before)
    assert "chromium" not in (machine / "installed").read_text().split()
    after = make(machine, "test")
    (installs,) = [number for number, line in enumerate(after) if line.startswith("apt-get install")]
    assert "chromium" in after[installs].split() and "gcc" not in after[installs].split()
    tested = [number for number, line in enumerate(after) if line.startswith("pytest ")]
    assert installs < tested[0], "before the tests"
    assert [after[number] for number in tested] == [
        "pytest -n logical -m not boots and not hosted and not proof",
        "pytest -m (boots or hosted) and not proof",
    ], "each test is in one of the two"
    again = make(machine, "test")
    assert not any(line.startswith(("apt-get", "python3", "pip")) for line in again), "all is there"


@pytest.mark.parametrize("target", ["units", "proof"])
def test_the_other_test_commands_install_the_same(machine: Path, target: str) -> None:
    lines = make(machine, target)
    assert {"chromium", "gcc"} <= set((machine / "installed").read_text().split())
    assert lines[-1].startswith("pytest -") and " -m " in lines[-1]


def pytest_on(folder: Path, first: str, *arguments: str) -> str:
    """What pytest says of a small suite with this hook file."""
    shutil.copy(ROOT / "tests/conftest.py", folder / "conftest.py")
    (folder / "test_suite.py").write_text(SUITE.format(first=first))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    proof: takes long\n    quick: does not\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        '@pytest.mark.skip(reason="no browser")\ndef test_skipped(): pass',
        'def test_skipped(): pytest.skip("no browser")',
        '@pytest.fixture\ndef browser(): pytest.skip("no browser")\n\ndef test_skipped(browser): pass',
    ],
)
def test_a_skipped_test_fails_unless_skips_are_allowed(tmp_path: Path, first: str) -> None:
    said = pytest_on(tmp_path, first)
    assert "1 passed" in said and "no browser" in said and ("1 failed" in said or "1 error" in said)
    assert "1 passed, 1 skipped" in pytest_on(tmp_path, first, "--allow-skips")


def test_a_skipped_module_fails_unless_skips_are_allowed(tmp_path: Path) -> None:
    first = 'pytest.skip("no browser", allow_module_level=True)'
    assert "no browser" in (said := pytest_on(tmp_path, first)) and "1 error" in said
    assert "1 skipped" in pytest_on(tmp_path, first, "--allow-skips")


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert "1 passed, 1 deselected, 1 xfailed" in pytest_on(tmp_path, "@pytest.mark.xfail\ndef test_x(): assert False")


def test_proofs_run_only_where_they_are_asked_for(tmp_path: Path) -> None:
    assert "1 passed, 1 deselected" in pytest_on(tmp_path, "")
    assert "1 passed, 1 deselected" in pytest_on(tmp_path, "", "-m", "not quick")
    assert "1 passed, 1 deselected" in pytest_on(tmp_path, "", "-m", "proof")
    assert "test_proof" in pytest_on(tmp_path, "", "-m", "proof", "-v")
