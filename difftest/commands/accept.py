"""`difftest accept`: a divergence becomes a known one."""

from __future__ import annotations

from typing import Annotated

import typer

from difftest.commands.options import OfRun, Results, default_results


def accept(
    reason: Annotated[str, typer.Option("--reason", help="Why it is there, in one sentence.")],
    check: Annotated[str, typer.Argument(help="A check of the run, as ID or CASE/ID.", metavar="CHECK")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="All divergences of the run that nobody knows, with one reason.")
    ] = False,
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
    """Write a divergence of a run into its case's manifest, or its suite's known.toml, as known: it makes no run fail
    any more, until it is gone.
    """
    from difftest.authoring.accept import accept_of, accepted_all, entry
    from difftest.errors import CaseError
    from difftest.report.digest import digest
    from difftest.report.lookup import found
    from difftest.run.store import StoredRun

    if everything == bool(check):
        raise CaseError("name a check, or give --all", hint="`difftest report` shows the divergences of a run")
    whole = digest(StoredRun.find(results, name))
    options = {"reason": reason, "link": link, "kernels": kernels, "bochs": bochs}
    if everything:
        for path, count in accepted_all(whole, **options, every_target=every_target).items():
            typer.echo(f"{path}: {count} {'entry' if count == 1 else 'entries'}")
        typer.echo(f"difftest judge {name} judges the run again with them")
        return
    pair, result = found(whole, check)
    path, text = accept_of(pair.case, entry(result, **options, every_target=every_target))
    typer.echo(f"{path}:\n\n{text}\ndifftest judge {name} judges the run again with it")
