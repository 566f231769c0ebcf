"""`difftest bundle`: one divergence packed for a bug tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.options import CheckName, OfRun, Results, default_results


def bundle(
    check: CheckName,
    name: OfRun = "latest",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tarball.")] = Path(),
    carry: Annotated[
        bool, typer.Option("--carry", help="Take hosted KVM along (30 MB): the script then needs no VMX, only Bochs.")
    ] = False,
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="With --carry: the kernel to take along. Default: as in the run.")
    ] = None,
    results: Results = default_results,
) -> None:
    """Pack a divergence into a tarball: image, evidence, bug report, and a script that shows it again without
    difftest.
    """
    from difftest.atomic import write, writing
    from difftest.report.bundle import bundle as packed
    from difftest.report.digest import digest
    from difftest.report.lookup import found
    from difftest.run.store import StoredRun
    from emulators.registry import targets

    run = StoredRun.find(results, name)
    chosen = found(digest(run), check)[0].choices
    as_in_run = dict(zip(chosen[::2], chosen[1::2], strict=True))
    models = {name: as_in_run.get(f"--{name.replace('_', '-')}") for name in ("cpu_model", "host_cpu_model")}
    every = targets({**models, "kernel": kernel or as_in_run.get("--kernel")})
    hosts = [host for target in every.values() if (host := target.host_cpu())]
    folder, data = packed(run, check, {**every, **{host.name: host for host in hosts}}, carry=carry)
    path = output / f"{folder}.tar.gz"
    with writing(path):
        output.mkdir(parents=True, exist_ok=True)
        write(path, data)
    typer.echo(f"{path}: {len(data)} bytes; unpack it and run rerun.sh")
