"""What a run with a fault in KVM showed, kept in a file for each fault, so that a runner that was ended goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

FOUND, ESCAPED, NO_VERDICT, BROKEN = "found", "escaped", "no verdict", "does not build"
MEANING = {0: ESCAPED, 1: FOUND}


class FaultOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one fault."""

    fault: str
    key: str  # of the fault that it was, see Fault.key
    outcome: str
    exit_code: int = -1
    checks: list[str] = []  # with an unexpected verdict, "case/check"
    seconds: float = 0.0
    detail: str = ""


def run(kernel: Path, cases: Sequence[str], results: Path, timeout: float) -> tuple[int, list[str], str]:
    """One `difftest run` with that kernel's KVM: its exit code, the checks with an unexpected divergence, its words."""
    tool = [sys.executable, "-m", "difftest.cli"]
    where = ["--results", str(results)]
    argv = [*tool, "run", *cases, "-t", "kvm-hosted", "--kernel", str(kernel), "--confirm", "none", "-q", *where]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return -1, [], f"no end after {timeout:.0f} s"
    if done.returncode not in (0, 1, 3):
        return done.returncode, [], done.stderr[-2000:]
    report = subprocess.run([*tool, "report", "--json", *where], capture_output=True, check=True).stdout
    whole = json.loads(report)
    checks = [f"{row['case']}/{row['check']}" for row in whole["results"] if not row["expected"]]
    return done.returncode, checks, str(whole["answer"])


class Outcomes:
    """A folder with one file for each fault that was tried."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, fault: str, key: str) -> FaultOutcome | None:
        """What became of this very fault, or None where it was not tried yet."""
        try:
            known = msgspec.json.decode((self._folder / f"{fault}.json").read_bytes(), type=FaultOutcome)
        except (OSError, msgspec.DecodeError):
            return None
        return known if known.key == key else None

    def put(self, outcome: FaultOutcome) -> None:
        (self._folder / f"{outcome.fault}.json").write_bytes(msgspec.json.encode(outcome))


def tried(fault: str, key: str, kernel: Path, cases: Sequence[str], results: Path, timeout: float) -> FaultOutcome:
    """Run the cases against a KVM with the fault in it."""
    start = time.monotonic()
    code, checks, detail = run(kernel, cases, results, timeout)
    return FaultOutcome(
        fault=fault,
        key=key,
        outcome=MEANING.get(code, NO_VERDICT),
        exit_code=code,
        checks=checks,
        seconds=round(time.monotonic() - start, 1),
        detail=detail,
    )
