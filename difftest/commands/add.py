"""`difftest add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftest.case.image_options import ImageOptions
from difftest.commands.options import takes_image_options, takes_versions
from difftest.commands.values import seconds
from emulators.versions import Versions


@takes_image_options
@takes_versions(repeatable=False, without=("kernel", "host_bochs", "qemu", "host_cpu_model", "kvm_param"))
def add(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            help="A BIOS disk or floppy, a bootable CD, or a multiboot kernel; packed by xz, gzip, bzip2 or zstd, or "
            "as VMDK, VDI, VHDX or qcow2, too."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of the case; its last part is the name. Default: named after the file, here."),
    ] = None,
    image: ImageOptions,
    versions: list[Versions],
    quiet_seconds: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="A boot ends after this long a silence. Default: 20; 60 where the screen shows the end.",
        ),
    ] = None,
    total_seconds: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="A boot ends after this long. Default: 120; 300 where the screen shows the end.",
        ),
    ] = None,
) -> None:
    """Make a case of an image: copy it, boot it once under Bochs, and write a case.toml that says how it ends."""
    from difftest.authoring.add import FIRST_BOOT, AddRequest
    from difftest.authoring.add import add as added
    from difftest.text import visible
    from emulators.host.files import cache_folder
    from emulators.registry import REFERENCE, targets

    request = AddRequest(
        file=file,
        folder=folder,
        image=image,
        cpu_model=versions[0].get("cpu_model") or "",
        quiet=quiet_seconds,
        total=total_seconds,
    )

    def say(line: str) -> None:
        typer.echo(visible(line), err=True)

    reference = targets(versions[0])[REFERENCE]
    reference.prepare(say)
    made = added(request, reference, cache_folder(), say)
    typer.echo(f"made {made.folder}/ of a {made.look.kind}")
    for sentence in [*made.look.sentences, *made.proposal.seen]:
        typer.echo(f"    {sentence}")
    for key in ("needs", "end", "end_screen", "right", "wrong"):
        if value := getattr(made.proposal, key):
            typer.echo(f"    proposed {key}: {visible(str(value))}")
    if made.proposal.no_end:
        typer.echo(f"    proposed no end: {visible(made.proposal.no_end)}")
    typer.echo(f"what that boot gave is in {made.folder}/{FIRST_BOOT}/")
    typer.echo(f"look at {made.folder}/case.toml, then: difftest run {made.folder}/")
