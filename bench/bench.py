"""What the phases of a run cost: one warm run of the seed case and a second image, phase by phase, and the ratios that count.

    make bench            (the machine should be otherwise quiet)

Everything is read from the stored run that `difftest run` left, so the figures are those of a user's run. Ratios are what to
trust: seconds vary with the machine. A line per bench goes to bench/history.jsonl.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from difftest.store import StoredRun
from emulators.observation import Observation

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
HISTORY = Path(__file__).with_name("history.jsonl")


def main() -> None:
    from tests.guests import HALT, boot_sector

    with tempfile.TemporaryDirectory(prefix="difftest-bench-") as name:
        folder = Path(name)
        second = boot_sector(folder, b"a second image\r\n", HALT)
        print("warming the caches ...", file=sys.stderr)
        difftest(folder, "run", "ept-pdpte-load", "-t", "kvm-hosted")
        print("measuring ...", file=sys.stderr)
        wall, cpu = difftest(folder, "run", "ept-pdpte-load", "-t", "kvm-hosted")
        first = StoredRun.find(folder / "results", "latest")
        difftest(folder, "run", "ept-pdpte-load", str(second), "-t", "kvm-hosted", "-j", "1")
        both = StoredRun.find(folder / "results", "latest")
        figures = measured(first, both, wall, cpu)
    for key, value in figures.items():
        print(f"{key:62} {value:8.3f}")
    with HISTORY.open("a") as history:
        history.write(json.dumps({"when": datetime.now(UTC).isoformat(timespec="seconds"), **figures}) + "\n")


def measured(first: StoredRun, both: StoredRun, wall: float, cpu: float) -> dict[str, float]:
    """Seconds, then ratios, of a run of `wall` seconds that used `cpu` seconds with all its children."""
    bochs = observation(first, "ept-pdpte-load", "bochs")
    hosted = observation(first, "ept-pdpte-load", "kvm-hosted")
    (other,) = (case.name for case in both.cases() if case.name != "ept-pdpte-load")
    further = observation(both, other, "kvm-hosted")
    boot = hosted.seconds["appliance ready"]
    phases = {phase: seconds for phase, seconds in hosted.seconds.items() if phase not in ("appliance ready", "whole")}
    emulators_cpu = sum(
        (
            bochs.counters["cpu seconds"],
            hosted.counters["cpu seconds"],
            hosted.counters["cpu seconds to ready"],
        )
    )
    emulators_wall = boot + hosted.seconds["logs"] + hosted.seconds["qemu ready"]
    boot_mips = hosted.counters["emulated instructions to ready"] / hosted.counters["cpu seconds to ready"] / 1e6
    return {
        "Bochs side of the seed case, s": bochs.seconds["whole"],
        "Bochs side: emulated MIPS": bochs.counters["emulated instructions"] / bochs.counters["cpu seconds"] / 1e6,
        "appliance, power-on to ready, s": boot,
        "appliance, power-on to ready, CPU s": hosted.counters["cpu seconds to ready"],
        "appliance, emulated MIPS (idle time counted)": boot_mips,
        **{f"seed under hosted KVM: {phase}, s": seconds for phase, seconds in phases.items()},
        "command to the seed's verdict, s": wall,
        "second image in the same appliance, s": further.seconds["whole"],
        "ratio: command to verdict / appliance boot (at most 1.6)": wall / boot,
        "ratio: second image / appliance boot (at most 0.6)": further.seconds["whole"] / boot,
        "tester's own CPU s, Xvfb and OCR included": cpu - emulators_cpu,
        "ratio: wall time without an emulator / whole (at most 0.05)": max(0.0, wall - emulators_wall) / wall,
    }


def observation(run: StoredRun, case: str, target: str) -> Observation:
    return run.observations(case)[target][0][0]


def difftest(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run the command; wall seconds and CPU seconds, all children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    argv = [sys.executable, "-m", "difftest.cli", *arguments, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"difftest {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
