"""A sample of bench/soak.py: hostile images, killed processes, full disks. Twenty minutes of it are run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent / "bench" / "soak.py"
SECONDS = 400  # with all that a round may take at its worst


def soak(folder: Path, *options: str) -> str:
    argv = [sys.executable, str(SOAK), *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "hangs 0, false verdicts 0, leaks 0, wrong exit codes 0" in done.stdout
    return done.stdout


@pytest.mark.boots
def test_half_a_minute_of_a_bad_week(tmp_path: Path) -> None:
    faults = [word for fault in ("tester", "Xvfb", "QEMU") for word in ("--fault", fault)]
    said = soak(tmp_path, "--minutes", "0.3", "--rounds", "2", "--target", "tcg", "--boots", "20", *faults)
    tried = {line[:28].strip(): line[28:].split() for line in said.splitlines()}
    assert tried["boots of one process"] == ["20", "20"]
    assert int(re.findall(r"(\d+) rounds", said)[0]) >= 2


@pytest.mark.hosted
@pytest.mark.proof
def test_two_minutes_of_it_with_hosted_kvm(tmp_path: Path) -> None:
    soak(tmp_path, "--minutes", "2", "--boots", "0")
