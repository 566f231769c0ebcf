"""`difftest accept`: a divergence becomes a known one."""

from __future__ import annotations

from typing import Annotated

import typer

from difftest.commands.options import CheckName, OfRun, Results, default_results


def accept(
    check: CheckName,
    reason: Annotated[str, typer.Option("--reason", help="Why it is there, in one sentence.")],
    link: Annotated[str, typer.Option("--link", help="Address of the bug report.")] = "",
    kernels: Annotated[
        str, typer.Option("--kernels", help='Kernels that it holds for, such as ">=5.10,<8". Default: all.')
    ] = "",
    bochs: Annotated[
        str, typer.Option("--bochs", help='Versions of the reference Bochs, such as "<=3.0". Default: all.')
    ] = "",
    every_target: Annotated[
        bool, typer.Option("--every-target", help="It holds for all targets, not only for the one that showed it.")
    ] = False,
    name: OfRun = "latest",
    results: Results = default_results,
) -> None:
    """Write a divergence of a run into its case's manifest as known: it makes no run fail any more, until it is
    gone.
    """
    from difftest.authoring.accept import accept as written
    from difftest.authoring.accept import entry, manifest_path
    from difftest.report.digest import digest
    from difftest.report.find import found
    from difftest.run.store import StoredRun

    pair, result = found(digest(StoredRun.find(results, name)), check)
    path = manifest_path(pair.case)
    known = entry(result, reason=reason, link=link, kernels=kernels, bochs=bochs, every_target=every_target)
    typer.echo(f"{path}:\n\n{written(path, known)}\ndifftest judge {name} judges the run again with it")
