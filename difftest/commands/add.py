"""`difftest add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.values import seconds


def add(
    file: Annotated[
        Path, typer.Argument(help="A BIOS disk, a bootable CD, or a multiboot kernel; .xz, .gz, VMDK or qcow2 too.")
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of the case; its last part is the name. Default: named after the file, here."),
    ] = None,
    command_line: Annotated[
        str, typer.Option("--command-line", "-c", help="The command line of a multiboot kernel.")
    ] = "",
    module: Annotated[
        list[str] | None,
        typer.Option("--module", "-m", help="A kernel's module, and its words: 'FILE word ...'; repeatable."),
    ] = None,
    second: Annotated[Path | None, typer.Option("--second-disk", help="A second hard disk.")] = None,
    memory: Annotated[int, typer.Option("--memory", min=1, max=2048, help="RAM of the machine, MiB.")] = 256,
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=8, help="CPUs of the machine.")] = 1,
    quiet_seconds: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="A boot ends after this long a silence. Default: 20; 60 where the screen tells the end.",
        ),
    ] = None,
    total_seconds: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="A boot ends after this long. Default: 120; 300 where the screen tells the end.",
        ),
    ] = None,
) -> None:
    """Make a case of an image: copy it, boot it once under Bochs, and write a case.toml that says how it ends."""
    from difftest.authoring.add import Wish
    from difftest.authoring.add import add as added
    from difftest.text import visible
    from emulators.host.files import cache_folder
    from emulators.registry import REFERENCE, targets

    wish = Wish(
        file=file,
        folder=folder,
        command_line=command_line,
        modules=module or [],
        second=second,
        memory_mib=memory,
        cpus=cpus,
        quiet=quiet_seconds,
        total=total_seconds,
    )
    made = added(wish, targets()[REFERENCE], cache_folder(), lambda line: typer.echo(visible(line), err=True))
    typer.echo(f"made {made.folder}/ of a {made.kind}")
    for sentence in made.proposal.seen:
        typer.echo(f"    {sentence}")
    for key in ("needs", "end", "end_screen", "right", "wrong"):
        if value := getattr(made.proposal, key):
            typer.echo(f"    proposed {key}: {visible(str(value))}")
    typer.echo(f"look at {made.folder}/case.toml, then: difftest run {made.folder}/")
