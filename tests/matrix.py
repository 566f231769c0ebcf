"""All bundled cases on several kernels, with several versions of Bochs as the reference: what is said of KVM must not
depend on the reference.

    python -m tests.matrix FOLDER                       boot what FOLDER lacks of it, and compare all that is there
    python -m tests.matrix FOLDER --kernel 6.1          boot these alone
    python -m tests.matrix FOLDER --compare             boot nothing

Each run is one of `difftest run --all`, stored below FOLDER. Exit code 1 when a run did not end as its known entries
say, or when two references make difftest say different things of one KVM.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from difftest.case.manifest import EMULATOR, OF_LOGS
from difftest.judging.result import Result
from difftest.run.store import StoredRun
from difftest.verdict import ExitCode, Status, Verdict, exit_code

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ("5.10", "6.1", "6.12", "7.3")
REFERENCES = ("2.7", "3.0", "3.1")
SAID = {
    Verdict.SUBJECT_WRONG: "wrong",
    Verdict.BOTH_WRONG: "wrong",
    Verdict.BY_HOST: "wrong on one host",
    Verdict.SHARED: "shared",
    Verdict.DIFFER: "differs",
    Verdict.FLAKY: "flaky",
    Verdict.INCONCLUSIVE: "no verdict",
}
LACKING = "the reference lacks what the check needs"
Statements = Mapping[tuple[str, str], str]  # what is said of KVM, by case and check


def said(result: Result) -> str:
    """What a result says of the subject alone."""
    if result.verdict == Verdict.SKIPPED and result.subject.status not in (Status.SKIP, Status.NOT_REPORTED):
        return LACKING if result.reference.status == Status.SKIP else "no verdict"
    if result.verdict in SAID:
        return SAID[result.verdict]
    return "skipped" if result.subject.status == Status.SKIP or result.verdict == Verdict.SKIPPED else "right"


def statements(results: Iterable[Result]) -> Statements:
    """Of every check; a panic of the reference is none of the subject's."""
    return {(result.case, result.check): said(result) for result in results if result.check != EMULATOR}


def disagreements(runs: Mapping[str, Statements]) -> list[str]:
    """Checks of which the runs, by their references, do not say the same. Nothing is said only where a reference
    lacks what the check needs.
    """
    found = []
    for key in dict.fromkeys(key for run in runs.values() for key in run):
        case, check = key
        # What is found in a log is a result only where there is something.
        each = {name: run.get(key, "right" if check in OF_LOGS else "not judged") for name, run in runs.items()}
        if len(set(each.values()) - {LACKING}) > 1 or "no verdict" in each.values():
            found.append(f"{case} / {check}: {', '.join(f'{words} with Bochs {name}' for name, words in each.items())}")
    return found


def boot(folder: Path, kernel: str, bochs: str) -> None:
    """One run of all cases."""
    argv = [sys.executable, "-m", "difftest.cli", "run", "--all", "-t", "kvm-hosted", "-q", "--confirm", "none"]
    argv += ["--kernel", kernel, "--bochs", bochs, "--results", str(place(folder, kernel, bochs))]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)


def place(folder: Path, kernel: str, bochs: str) -> Path:
    return folder.resolve() / f"linux-{kernel}-bochs-{bochs}"  # no name that an option would take for a file


def stored(folder: Path, kernel: str, bochs: str) -> StoredRun | None:
    """The last run of these versions that came to its end."""
    if not place(folder, kernel, bochs).is_dir():
        return None
    run = StoredRun.find(place(folder, kernel, bochs))
    return run if run.meta.status == "finished" else None


def problems(folder: Path) -> list[str]:
    """What is wrong with the runs that are there."""
    found = []
    for kernel in KERNELS:
        runs = {bochs: run for bochs in REFERENCES if (run := stored(folder, kernel, bochs))}
        for bochs, run in runs.items():
            results = run.all_results()
            for result in results:
                if exit_code([result], allow_skips=True) != ExitCode.EXPECTED:
                    words = f"{result.case} / {result.check}: {result.label}: {result.reason}"
                    found.append(f"Linux {kernel}, Bochs {bochs}: {words}")
            if (code := exit_code(results)) != ExitCode.EXPECTED:
                found.append(f"Linux {kernel}, Bochs {bochs}: exit code {code}")
        said_of_kvm = {bochs: statements(run.all_results()) for bochs, run in runs.items()}
        found += [f"Linux {kernel}: {words}" for words in disagreements(said_of_kvm)]
    return found


def main(arguments: Sequence[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--kernel", action="append", choices=KERNELS)
    options.add_argument("--bochs", action="append", choices=REFERENCES)
    options.add_argument("--compare", action="store_true", help="boot nothing")
    asked = options.parse_args(arguments)
    for kernel, bochs in itertools.product(asked.kernel or KERNELS, asked.bochs or REFERENCES):
        if not asked.compare and stored(asked.folder, kernel, bochs) is None:
            boot(asked.folder, kernel, bochs)
    there = [pair for pair in itertools.product(KERNELS, REFERENCES) if stored(asked.folder, *pair)]
    found = problems(asked.folder)
    print("\n".join(found))
    print(f"{len(there)} of {len(KERNELS) * len(REFERENCES)} runs, {len(found)} problems")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
