"""`difftest compare`: stored runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Results
from difftest.verdict import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from difftest.history.compare import Comparison
    from difftest.run.store import StoredRun

EXIT_CODES = """Exit codes: 0 nothing got worse; 1 a check is new among the divergences, or changed; 2 wrong usage; 3 a
check cannot be compared because a run gave no verdict on it; 4 difftest itself failed; 5 this machine failed."""


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more runs, by name or folder, the oldest first.", metavar="RUN RUN...")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    results: Results = Path("results"),
) -> None:
    """Hold stored runs against each other: what is new, fixed or the same between their versions. No emulator is
    started.
    """
    from difftest.atomic import encode
    from difftest.errors import CaseError
    from difftest.history.compare import compare as compared
    from difftest.run.store import StoredRun

    if len(runs) < 2:
        raise CaseError("compare takes two runs or more", hint="`difftest run` prints the name of its run")
    comparison = compared([StoredRun.find(results, name) for name in runs])
    if json:
        sys.stdout.buffer.write(encode(comparison) + b"\n")
    else:
        show_comparison(comparison)
    raise typer.Exit(_code(comparison))


def show_matrix(runs: Sequence[StoredRun]) -> None:
    """The table of runs that one command made."""
    from difftest.history.compare import compare as compared

    show_comparison(compared(runs))


def show_comparison(comparison: Comparison) -> None:
    from difftest.report.matrix import show

    show(comparison, sys.stdout)


def _code(comparison: Comparison) -> ExitCode:
    from difftest.history.compare import Change

    changes = comparison.all_changes()
    if changes & {Change.NEW, Change.CHANGED}:
        return ExitCode.DIVERGED
    return ExitCode.NO_VERDICT if Change.UNKNOWN in changes else ExitCode.EXPECTED
