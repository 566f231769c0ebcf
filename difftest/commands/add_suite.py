"""`difftest add-suite`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def add_suite(
    source: Annotated[
        Path, typer.Argument(help="A checkout of kvm-unit-tests, or a folder of images with a list, images.toml.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the suite. Default: named after the source, with -suite, here.")
    ] = None,
    archs: Annotated[
        list[str] | None, typer.Option("--arch", help="Of kvm-unit-tests: x86_64 or i386; repeatable. Default: both.")
    ] = None,
) -> None:
    """Make a suite of cases of tests that others made. The source is built beside itself and stays as it is."""
    from difftest.authoring.suite import add_suite as added
    from difftest.text import visible

    made = added(source, folder, archs or ["x86_64", "i386"], lambda line: typer.echo(visible(line), err=True))
    typer.echo(f"made {made.folder}/ with {made.cases} images to boot and {len(made.skipped)} that are skipped:")
    reasons = Counter(made.skipped.values())
    for reason, count in reasons.most_common():
        names = [name for name, why in made.skipped.items() if why == reason]
        more = f" and {count - 3} more" if count > 3 else ""
        typer.echo(visible(f"    {', '.join(names[:3])}{more}: {reason}", 300))
    for words in made.failed:
        typer.echo(visible(f"    not built: {words}", 400))
    typer.echo(f"then: difftest run {made.folder}/ --confirm none")
