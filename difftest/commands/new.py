"""`difftest new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    folder: Annotated[Path, typer.Argument(help="The case's name, or the folder to make; its last part is the name.")],
) -> None:
    """Start a case in C with the kit: a folder with two checks that builds and runs as it is."""
    from difftest.authoring.scaffold import new_case

    made = new_case(folder)
    typer.echo(f"made {made}/: a manifest and two checks to replace\nrun it: difftest run {made}/")
