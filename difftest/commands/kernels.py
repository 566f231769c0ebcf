"""`difftest kernels`: what `--kernel`, `--bochs` and `--host-bochs` can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emulators.host.apt import Package


def kernels(
    wanted: Annotated[
        str, typer.Argument(help="Only this version, or versions that begin so.", metavar="[VERSION]")
    ] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Fetch the package lists again; else those of the last day are used.")
    ] = False,
) -> None:
    """List the kernels and the Bochs that the mirror's suites hold, oldest first, and which of them are in the
    cache.
    """
    from emulators.bochs import program as bochs_program
    from emulators.host.files import cache_folder
    from emulators.host.mirror import Mirror, is_meant
    from emulators.hosted.appliance import kernel

    cache = cache_folder()
    mirror = Mirror(cache, lambda line: typer.echo(line, err=True))
    mirror.look(update=update)
    parts = (
        ("kernels: --kernel VERSION", kernel.available(mirror), kernel.cached(cache)),
        ("Bochs: --bochs VERSION, --host-bochs VERSION", bochs_program.available(mirror), bochs_program.cached(cache)),
    )
    for title, there, cached in parts:
        typer.echo(title)
        _show([package for package in there if is_meant(package, wanted)], cached)
    if mirror.problems:
        typer.echo(f"\nnot looked into:\n{mirror.troubles()}", err=True)


def _show(packages: Sequence[Package], cached: Sequence[Package]) -> None:
    from difftest.text import visible

    cached_names = {(package.name, package.version) for package in cached}
    for package in packages:
        mark = "cached" if (package.name, package.version) in cached_names else ""
        typer.echo(visible(f"    {package.version:24} {package.suite:20} {package.name:46} {mark}").rstrip())
    if not packages:
        typer.echo("    none")
