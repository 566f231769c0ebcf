"""`difftest doctor`."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    kernel: Annotated[str | None, typer.Option("--kernel", help="Also look whether this kernel can be had.")] = None,
    models: Annotated[
        bool, typer.Option("--models", help="Also try which CPU models of Bochs host KVM: half a minute for each.")
    ] = False,
) -> None:
    """Report what this host can do, what is missing, and the command that gets it. Exit code 1: no run is possible."""
    from difftest.doctor import can_compare, examine, packages
    from emulators.registry import targets

    every = targets({"kernel": kernel})
    diagnoses = examine(every)
    for diagnosis in diagnoses:
        typer.echo(f"{diagnosis.name}: {'ready' if diagnosis.usable else 'not usable'}")
        for need in diagnosis.needs:
            mark = "ok     " if need.met else "MISSING"
            hint = f"  ->  {need.hint}" if not need.met else ""
            typer.echo(f"    {mark} {need.what}{': ' + need.found if need.found else ''}{hint}")
    if kernel is not None:
        from emulators.hosted.target import KvmHosted

        found = KvmHosted(kernel=kernel).appliance(typer.echo)
        typer.echo(f"kernel {kernel}: {found.kernel.package}, release {found.kernel.release}")
    if models:
        _try_models(kernel)
    wanted = packages(diagnoses)
    if wanted:
        typer.echo(f"\nTo install what is missing:\n    apt-get install {' '.join(wanted)}")
    if not can_compare(diagnoses):
        typer.echo("\nNo comparison is possible here yet: it takes difftest's own needs, bochs, and kvm or kvm-hosted.")
        raise typer.Exit(1)


def _try_models(kernel: str | None) -> None:
    """Say of each CPU model of the Bochs that hosts KVM whether KVM runs a guest there."""
    import asyncio

    from difftest.text import visible
    from emulators.host.errors import silent
    from emulators.hosted.target import KvmHosted

    target = KvmHosted(kernel=kernel)
    typer.echo(f"\nCPU models of Bochs {target.program(silent).version} for --host-cpu-model:")
    for model in target.hosting_models(silent):
        trouble = asyncio.run(target.hosts(model, silent))
        typer.echo(f"    {model}: {visible(trouble, 300) or 'hosts KVM'}")
