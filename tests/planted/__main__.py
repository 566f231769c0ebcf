"""Puts faults into KVM, one at a time, and counts those that the bundled cases find.

    .venv/bin/python -m tests.planted                       all faults of faults.toml, in Linux 6.1
    .venv/bin/python -m tests.planted --area W --area E     those of some families
    .venv/bin/python -m tests.planted invept-type vpid-zero these
    .venv/bin/python -m tests.planted --table               what was found so far, nothing is run
    .venv/bin/python -m tests.planted --faults MINE.toml    other faults, in the same form

Needs gcc and make. First KVM is built as it is, and must give no unexpected divergence. Each fault takes 20 s to a
minute; what was tried before is not tried again unless --again is given. The snapshots lie in a cache of its own, which
is removed when all of a list were tried.

Exit code: 0 all found, 1 some escaped, 3 some gave no verdict or did not build.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from emulators.host.errors import EmulatorError
from emulators.host.files import cache_folder

from .fault import FAULTS, Fault, UnfitError, load
from .outcome import BROKEN, ESCAPED, FOUND, FaultOutcome, Outcomes, tried
from .tree import KvmTree, prepare

PLAIN = Fault(id="plain", area="", file="", function="", anchor="", becomes="", says="KVM as the distribution has it")
SHOWN = 3  # checks in a row of the table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="FAULT")
    parser.add_argument("--faults", type=Path, default=FAULTS, help="the file that they are in")
    parser.add_argument("--area", action="append", default=[], help="only faults of this family; repeatable")
    parser.add_argument("--kernel", default="6.1", help="a version that the host's own suite has with its sources")
    parser.add_argument("--case", action="append", default=[], help="only these cases; default: all; repeatable")
    parser.add_argument("--folder", type=Path, default=Path("results/planted"), help="trees, runs and outcomes")
    parser.add_argument("--timeout", type=float, default=400.0, help="seconds for one run")
    parser.add_argument("--table", action="store_true", help="show what was found so far, and run nothing")
    parser.add_argument("--again", action="store_true", help="try again what was tried")
    asked = parser.parse_args()
    faults = [fault for fault in load(asked.faults) if _wanted(fault, asked.ids, asked.area)]
    unknown = set(asked.ids) - {fault.id for fault in faults}
    if unknown or not faults:
        parser.error(f"no such fault: {', '.join(sorted(unknown)) or '--area ' + ' '.join(asked.area)}")
    outcomes = Outcomes(asked.folder / "outcomes")
    if not asked.table:
        _try_all(asked, faults, outcomes)
    return _report(faults, outcomes)


def _wanted(fault: Fault, ids: Sequence[str], areas: Sequence[str]) -> bool:
    return (not ids or fault.id in ids) and (not areas or fault.area in areas)


def _try_all(asked: argparse.Namespace, faults: Sequence[Fault], outcomes: Outcomes) -> None:
    say = Console(stderr=True).print
    folder = asked.folder.absolute()
    tree = prepare(asked.kernel, folder / "trees", cache_folder(), lambda line: say(line, markup=False))
    # Linux is saved once for all of them, and each KVM gives a snapshot that no other run needs: the cache has a limit,
    # and goes with the last.
    cache = folder / "cache"
    os.environ["XDG_CACHE_HOME"] = str(cache)
    for number, fault in enumerate([PLAIN, *faults]):
        known = outcomes.get(fault.id, fault.key)
        if known is not None and not (asked.again and fault is not PLAIN):
            continue
        say(f"{number} of {len(faults)}: {fault.id}: {fault.says}", markup=False)
        outcome = _one(tree, fault, asked, folder)
        if fault is PLAIN and outcome.outcome != ESCAPED:
            sys.exit(f"error: KVM without a fault shows {outcome.checks or outcome.detail}")
        outcomes.put(outcome)
        say(f"  {outcome.outcome}: {', '.join(outcome.checks[:SHOWN])}", markup=False)
        shutil.rmtree(folder / "runs", ignore_errors=True)
    if not asked.ids and all(outcomes.get(fault.id, fault.key) for fault in faults):
        shutil.rmtree(cache, ignore_errors=True)


def _one(tree: KvmTree, fault: Fault, asked: argparse.Namespace, folder: Path) -> FaultOutcome:
    try:
        if fault is PLAIN:
            tree.modules(folder / "kernel")
        else:
            with tree.with_fault(fault):
                tree.modules(folder / "kernel")
    except (UnfitError, EmulatorError) as error:
        return FaultOutcome(fault=fault.id, key=fault.key, outcome=BROKEN, detail=str(error))
    return tried(fault.id, fault.key, folder / "kernel", asked.case, folder / "runs", asked.timeout)


def _report(faults: Sequence[Fault], outcomes: Outcomes) -> int:
    table = Table("fault", "area", "outcome", "checks", "says", box=None, pad_edge=False)
    counts: Counter[str] = Counter()
    for fault in faults:
        outcome = outcomes.get(fault.id, fault.key)
        word = outcome.outcome if outcome else "not tried"
        if fault.equivalent and word == ESCAPED:
            word = "equivalent"
        counts[word] += 1
        checks = list(outcome.checks) if outcome else []
        shown = ", ".join(checks[:SHOWN]) + (f" and {len(checks) - SHOWN} more" if len(checks) > SHOWN else "")
        table.add_row(
            fault.id,
            fault.area,
            word,
            shown or (outcome.detail if outcome and word not in (FOUND, ESCAPED) else ""),
            fault.says,
        )
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table, markup=False)
    console.print(", ".join(f"{number} {word}" for word, number in counts.most_common()), f"of {len(faults)}")
    if counts[ESCAPED]:
        return 1
    return 0 if set(counts) <= {FOUND, "equivalent"} else 3


if __name__ == "__main__":
    sys.exit(main())
