"""What runs cost, as medians that later changes are compared with: bench/baseline.json.

    .venv/bin/python bench/baseline.py                 measure, and compare with the baseline
    .venv/bin/python bench/baseline.py --write         measure, and make that the baseline
    .venv/bin/python bench/baseline.py --times 3 --kernel 6.1

For each kernel: the seed with a snapshot (warm) and with a boot of Linux (cold), and all bundled cases. Compare
emulated instructions and CPU seconds; wall seconds vary with the machine. The machine should be otherwise quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(os.environ.get("DIFFTEST_ROOT", Path(__file__).resolve().parent.parent))
BASELINE = Path(__file__).with_name("baseline.json")
KERNELS = ("5.10", "6.1", "6.12", "7.3")
SCENARIOS = {"warm seed": ["ept-pdpte-load"], "cold seed": ["ept-pdpte-load", "--cold"], "all cases": ["--all"]}
TIMES = 10
INSTRUCTIONS = ("emulated instructions", "emulated instructions to ready")  # counters of an observation
ENDED_WELL = (0, 1, 3)
UNITS = ("million instructions", "CPU s", "wall s")

Figures = dict[str, float]  # by unit


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="keep the figures as the baseline")
    options.add_argument("--times", type=int, default=TIMES, help="runs of each kind; the median counts")
    options.add_argument("--kernel", action="append", help="kernels to run; default: " + " ".join(KERNELS))
    asked = options.parse_args()
    kernels = asked.kernel or KERNELS
    before: dict[str, Figures] = json.loads(BASELINE.read_text())["figures"] if BASELINE.exists() else {}
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="difftest-bench-") as folder:
        for kernel in kernels:
            run(Path(folder), [*SCENARIOS["all cases"], "--kernel", kernel])  # fetches, builds and saves what is kept
            for scenario, arguments in SCENARIOS.items():
                runs = [run(Path(folder), [*arguments, "--kernel", kernel]) for _ in range(asked.times)]
                name = f"{scenario}, kernel {kernel}"
                found[name] = {unit: round(statistics.median(one[unit] for one in runs), 3) for unit in UNITS}
                show(name, found[name], before.get(name, {}))
    if asked.write:
        BASELINE.write_text(json.dumps({"times": asked.times, "figures": before | found}, indent=1) + "\n")


def show(name: str, figures: Figures, before: Figures) -> None:
    parts = []
    for unit, value in figures.items():
        ratio = f" ({value / before[unit]:5.2f} of the baseline)" if before.get(unit) else ""
        parts.append(f"{value:9.2f} {unit}{ratio}")
    print(f"{name:26} {'  '.join(parts)}", flush=True)


def run(folder: Path, arguments: list[str]) -> Figures:
    """Run cases on Bochs and hosted KVM: what that took, all its processes included."""
    argv = [sys.executable, "-m", "difftest.cli", "run", *arguments, "-t", "kvm-hosted", "-q", "--confirm", "none"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in ENDED_WELL:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout.decode(errors='replace')}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"million instructions": instructions(folder) / 1e6, "CPU s": cpu, "wall s": wall}


def instructions(folder: Path) -> float:
    """What all boots of the last run took, by what each observation counted."""
    last = max((folder / "results").glob("2*"))
    counters = [json.loads(path.read_bytes())["counters"] for path in last.glob("cases/*/*/*/observation.json")]
    return sum(one.get(name, 0.0) for one in counters for name in INSTRUCTIONS)


if __name__ == "__main__":
    main()
