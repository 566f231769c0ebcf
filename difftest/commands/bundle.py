"""`difftest bundle`: another name of `difftest export --as bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.export import Carry, CarryKernel, save_bundle
from difftest.commands.options import CheckName, OfRun, Results, default_results


def bundle(
    check: CheckName,
    name: OfRun = "latest",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tarball.")] = Path(),
    carry: Carry = False,
    kernel: CarryKernel = None,
    results: Results = default_results,
) -> None:
    """Pack a divergence into a tarball: image, evidence, bug report, and a script that shows it again without
    difftest. The same as `difftest export --as bundle`.
    """
    save_bundle(check, name, output, results, carry=carry, kernel=kernel)
