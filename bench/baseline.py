"""What runs cost, as medians that later changes are compared with: bench/baseline.json.

    .venv/bin/python bench/baseline.py                 measure, and compare with the baseline
    .venv/bin/python bench/baseline.py --write         measure, and make that the baseline
    .venv/bin/python bench/baseline.py --times 3 --kernel 6.1

For each kernel: the seed with a snapshot (warm) and with a boot of Linux (cold), and all bundled cases. The whole is
split by side: the reference, the CPU under KVM booted directly, hosted KVM, and the tester itself with its X servers.
Compare CPU seconds; wall seconds vary with the machine, and emulated instructions count the time that a guest stays in
HLT until it is looked at, too. The machine should be otherwise quiet.
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
SIDES = {"bochs": "reference", "host-cpu": "host CPU", "kvm-hosted": "hosted"}  # by the target's folder in a run
INSTRUCTIONS = ("emulated instructions", "emulated instructions to ready")  # counters of an observation
WHOLE_CPU = "cpu seconds of the whole emulator"  # of an emulator that did one boot; where there is none:
CPU = ("cpu seconds", "cpu seconds to ready")
ENDED_WELL = (0, 1, 3)
MILLION, SECONDS = "million emulated instructions", "CPU s"

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
                found[name] = {unit: round(statistics.median(one[unit] for one in runs), 3) for unit in runs[0]}
                show(name, found[name], before.get(name, {}))
    if asked.write:
        BASELINE.write_text(json.dumps({"times": asked.times, "figures": before | found}, indent=1) + "\n")


def show(name: str, figures: Figures, before: Figures) -> None:
    print(name)
    for unit, value in figures.items():
        ratio = f"  {value / before[unit]:5.2f} of the baseline" if before.get(unit) else ""
        print(f"    {unit:34} {value:9.2f}{ratio}", flush=True)


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
    sides = by_side(max((folder / "results").glob("2*")))
    emulated = sum(value for unit, value in sides.items() if unit.endswith(MILLION))
    emulating = sum(value for unit, value in sides.items() if unit.endswith(SECONDS))
    return {MILLION: emulated, SECONDS: cpu, "wall s": wall, **sides, f"tester: {SECONDS}": cpu - emulating}


def by_side(run: Path) -> Figures:
    """What all boots of a stored run took on each side, by what each observation counted. Raises KeyError for a target
    that is none of SIDES.
    """
    figures = {f"{side}: {unit}": 0.0 for unit in (MILLION, SECONDS) for side in SIDES.values()}
    for path in run.glob("cases/*/*/*/observation.json"):
        counters = json.loads(path.read_bytes())["counters"]
        side = SIDES[path.parent.parent.name]
        figures[f"{side}: {MILLION}"] += sum(counters.get(name, 0.0) for name in INSTRUCTIONS) / 1e6
        figures[f"{side}: {SECONDS}"] += counters.get(WHOLE_CPU) or sum(counters.get(name, 0.0) for name in CPU)
    return figures


if __name__ == "__main__":
    main()
