"""The judge's tests are tested: a fault that is put into the judge makes one of them fail."""

from __future__ import annotations

import compileall
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutations import EQUIVALENT, MUTATIONS, Mutation

ROOT = Path(__file__).parent.parent
LEAST = 40
SAMPLE = 4  # of them in a usual test run, others in each; the processes of one run (pytest-xdist) choose the same
CHOSEN = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).sample(MUTATIONS, SAMPLE)
# The quickest first: most faults are noticed there.
JUDGING = ("attribution", "judge", "exit_codes", "rules", "evidence", "suite", "compare", "confirm", "known", "run")
ONE_FAILED = 1  # pytest's exit code


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, to be broken."""
    root = tmp_path_factory.mktemp("mutated")
    for name in ("difftest", "emulators", "tests", "cases"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    compileall.compile_dir(root, quiet=2)
    return root


@pytest.fixture
def broken(tree: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copy with the fault of `request.param` in it."""
    mutation: Mutation = request.param
    path = tree / mutation.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()
    yield tree
    path.write_text(whole, encoding="utf-8")


def judged(tree: Path) -> subprocess.CompletedProcess[str]:
    """The tests of the judge, run in this tree up to the first that fails."""
    files = [f"tests/test_{name}.py" for name in JUDGING]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *files]
    return subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300)


def noticed(tree: Path) -> None:
    done = judged(tree)
    assert done.returncode == ONE_FAILED, done.stdout[-2000:] + done.stderr[-2000:]
    assert "error" not in done.stdout.splitlines()[-1], "a fault is noticed by what a test says, not by a broken import"


def name_of(mutation: Mutation) -> str:
    return f"{Path(mutation.file).stem}: {mutation.old.strip()[:60]} -> {mutation.new.strip()[:60]}"


@pytest.mark.parametrize("broken", CHOSEN, indirect=True, ids=name_of)
def test_some_faults_are_noticed(broken: Path) -> None:
    noticed(broken)


@pytest.mark.proof
@pytest.mark.parametrize("broken", MUTATIONS, indirect=True, ids=name_of)
def test_every_fault_is_noticed(broken: Path) -> None:
    noticed(broken)


@pytest.mark.proof
def test_without_a_fault_the_tests_pass(tree: Path) -> None:
    done = judged(tree)
    assert done.returncode == 0, done.stdout[-2000:]


def test_each_fault_can_still_be_put_in() -> None:
    """Where a line has changed its mutation must, too."""
    every = [*MUTATIONS, *(mutation for mutation, _ in EQUIVALENT)]
    times = {
        name_of(mutation): (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old) for mutation in every
    }
    assert {name: number for name, number in times.items() if number != 1} == {}
    assert len(set(every)) == len(every) and all(mutation.old != mutation.new for mutation in every)


def test_there_are_enough_of_them_and_few_that_change_nothing() -> None:
    assert len(MUTATIONS) >= LEAST
    assert len(EQUIVALENT) <= (len(MUTATIONS) + len(EQUIVALENT)) / 20
    assert all(why.endswith(".") for _, why in EQUIVALENT)
    judging = (
        *("attribution", "judge", "repeat_verdict", "fields", "log_findings", "evidence", "known"),
        *("confirmation", "result"),
    )
    assert {mutation.file for mutation in MUTATIONS} == {
        *(f"difftest/judging/{name}.py" for name in judging),
        "difftest/history/compare.py",
        "difftest/verdict.py",
    }
