"""Temporary folders: gone with their context, and with the next run when theirs was killed; nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from emulators.host.scratch import scratch, sweep

ROOT = Path(__file__).parent.parent
HOLDS = """
import sys, tempfile, time
from emulators.host.scratch import scratch
tempfile.tempdir = sys.argv[1]
with scratch("test") as folder:
    (folder / "file").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_it_goes_with_its_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), scratch("test") as folder:
        assert folder.parent == tmp_path and list(folder.iterdir()) == []
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [sys.executable, "-c", HOLDS, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        assert sweep(tmp_path) == [] and left.exists(), "it is in use"
        other.kill()
    assert left.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch("test") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_another_process_with_the_same_number_is_none_of_ours(tmp_path: Path) -> None:
    left = tmp_path / f"difftest-bochs-{os.getpid()}-1-abc_123"
    left.mkdir()
    assert sweep(tmp_path) == [left]


@pytest.mark.parametrize(
    "name",
    ["difftest-bochs-abc", "difftest-cache", "other-bochs-1-1-abc", "difftest-bochs-1-1-abc.img", "difftest-bench-x"],
)
def test_what_is_named_otherwise_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert sweep(tmp_path) == [] and (tmp_path / name).exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "valuable").mkdir()
    (tmp_path / "difftest-bochs-999999999-1-abc").symlink_to(tmp_path / "valuable")
    assert sweep(tmp_path) == [] and (tmp_path / "valuable").exists()
