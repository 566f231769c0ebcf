"""`difftest sweep`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.options import Results, default_results, takes_versions
from difftest.commands.values import names, seconds
from emulators.versions import Versions


@takes_versions(repeatable=False)
def sweep(
    families: Annotated[
        list[str] | None,
        typer.Argument(help="Families: transitions, pdpte-loads. Default: all.", metavar="[FAMILY]..."),
    ] = None,
    *,
    seed: Annotated[int, typer.Option("--seed", min=0, max=(1 << 63) - 1, help="Which vectors these are.")] = 1,
    vectors: Annotated[
        int, typer.Option("--vectors", "-n", min=1, max=1 << 40, help="How many vectors of each family.")
    ] = 100_000,
    time: Annotated[
        float | None,
        typer.Option("--time", parser=seconds, metavar="SECONDS", help="Start no further piece after this long."),
    ] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="K/N", help="The K-th part of N, from 1: for several machines.")
    ] = "1/1",
    resume: Annotated[
        str, typer.Option("--resume", metavar="SWEEP", help="Go on with this sweep: its name or folder.")
    ] = "",
    versions: list[Versions],
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm/--no-confirm", help="Boot each finding as a check, on the reference as well, and cold."
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the report.")] = False,
    results: Results = default_results,
) -> None:
    """Run vectors that the image makes itself, on KVM and on the CPU under it, and bring back what differs, made small.

    The model of the SDM says which side is wrong.
    """
    from difftest.sweeping.carry_out import SweepRequest, carry_out

    request = SweepRequest(
        families=names("FAMILY", families),
        seed=seed,
        vectors=vectors,
        seconds=time,
        shard=_shard(shard),
        resume=resume,
        versions=versions[0],
        confirm=confirm,
        quiet=quiet,
        results=results,
        command=["difftest", *sys.argv[1:]],
    )
    code, lines = carry_out(request)
    for line in lines:
        typer.echo(line)
    raise typer.Exit(code)


def promote(
    signature: Annotated[str, typer.Argument(help="The name of a finding, as the sweep's report has it.")],
    folder: Annotated[Path, typer.Argument(help="The case folder to write.")],
    *,
    of: Annotated[
        str, typer.Option("--sweep", help="The sweep's name or folder. Default: the latest.")
    ] = "latest-sweep",
    results: Results = default_results,
) -> None:
    """Write a case of the kit with a finding of a sweep as a check, and its control."""
    from difftest.sweeping.promote import write_case
    from difftest.sweeping.stored import StoredSweep

    stored = StoredSweep.find(results, of)
    write_case(folder, [stored.finding(signature)], stored.result.facts)
    typer.echo(f"difftest run {folder}")


def merge(
    sweeps: Annotated[list[str], typer.Argument(help="Sweeps that are parts of one, by name or folder.")],
    *,
    results: Results = default_results,
) -> None:
    """Make one sweep of its shards. Parts of other vectors, kernels or programs are refused."""
    from difftest.sweeping.merge import merged_sweep
    from difftest.sweeping.stored import StoredSweep

    parts = [StoredSweep.find(results, name) for name in sweeps]
    folder = merged_sweep(parts, results)
    typer.echo(f"{folder}\n{folder / 'index.html'}")


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts) <= 10_000:
        return int(part) - 1, int(parts)
    raise typer.BadParameter(f"{text} is no K/N with K from 1 to N.", param_hint="'--shard'")
