"""The wheel: one package with the cases and the kit in it, which runs away from the checkout."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from difftest.case.selection import bundled
from tests.faults import built_library

ROOT = Path(__file__).parent.parent
FOLDERS = ("difftest", "emulators", "cases")
PACKAGE = "difftest_x86"
COMMAND = "import sys; from difftest_x86.difftest.installed import main; sys.argv[0] = 'difftest'; main()"


def files(root: Path) -> set[str]:
    """What of the repository a wheel has to have."""
    found = [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the repository, with things beside the sources that are none of its business."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for name in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, copy)
    for name in ("results/run/run.json", ".venv/lib/x.py", "difftest/__pycache__/x.pyc"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("")
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A site-packages folder with the wheel unpacked in it, and nothing else."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, code: str, arguments: Sequence[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Python with that folder on its path, and not the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYTHONPATH": str(site),
        "XDG_CACHE_HOME": str(cwd / "cache"),
        **more,
    }
    argv = [sys.executable, "-P", "-c", code, *arguments]
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_it_has_one_package_with_the_folders_of_the_repository(wheel: Path) -> None:
    assert wheel.name.startswith("difftest_x86-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    own = {name.removeprefix(f"{PACKAGE}/") for name in names if name.startswith(f"{PACKAGE}/")}
    assert own == files(ROOT)
    others = {name.partition("/")[0] for name in names if not name.startswith(f"{PACKAGE}/")}
    assert others == {f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert "difftest = difftest_x86.difftest.installed:main" in points


def test_it_lists_the_bundled_cases_away_from_the_checkout(site: Path, tmp_path: Path) -> None:
    done = run(site, COMMAND, ["list"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[::2]] == [case.name for case in bundled()]
    assert str(ROOT) not in run(site, COMMAND, ["show", "ept-pdpte-load"], tmp_path).stdout


def test_its_folders_are_no_names_of_anybody_else(site: Path, tmp_path: Path) -> None:
    """-S: this Python may have the checkout among its own packages."""
    code = f"import sys; sys.path[:0] = [{str(site)!r}]; import {PACKAGE}.difftest, difftest"
    done = subprocess.run([sys.executable, "-S", "-P", "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert b"No module named 'difftest'" in done.stderr


def test_a_case_is_built_out_of_a_read_only_installation(site: Path, tmp_path: Path) -> None:
    read_only = {"LD_PRELOAD": str(built_library(tmp_path)), "FAULT": f"{errno.EROFS} 0 {site}"}
    for arguments in (["show", "ept-pdpte-load"], ["new", "mine"], ["show", "mine", "--cases", "."]):
        done = run(site, COMMAND, arguments, tmp_path, **read_only)
        assert done.returncode == 0, done.stdout + done.stderr
    refused = run(site, COMMAND, ["new", str(site / "mine")], tmp_path, **read_only)
    assert refused.returncode == 5 and "Read-only file system" in refused.stderr, "the fault is at work"


def test_an_installation_without_cases_says_where_to_get_them(site: Path, tmp_path: Path) -> None:
    bare = tmp_path / "site"
    shutil.copytree(site, bare)
    shutil.rmtree(bare / PACKAGE / "cases")
    for arguments in (["list"], ["run"], ["run", "ept-pdpte-load"]):
        done = run(bare, COMMAND, arguments, tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: there is no case in {bare / PACKAGE}/cases\nhint: "), done.stderr


@pytest.mark.proof
def test_pip_installs_it_and_the_command_runs(wheel: Path, tmp_path: Path) -> None:
    """With all that it depends on, fetched by pip."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([tmp_path / "venv/bin/pip", "install", "-q", wheel], check=True)
    done = subprocess.run(
        [tmp_path / "venv/bin/difftest", "list", "--checks"], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.count(b"\n    ") > 300
