"""`difftest history`: any number of stored runs as a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def history(
    folders: Annotated[
        list[Path], typer.Argument(help="Runs, or folders that runs are kept in, at any depth.", metavar="FOLDER...")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FOLDER", help="Write the site into this folder.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Show what stored runs say together: since which version each divergence is there, and in which it is fixed. With
    --html as a static site, with a heat map of checks by kernel and Bochs. No emulator is started.
    """
    from difftest.history.ledger import ledger
    from difftest.history.stored import stored_runs
    from difftest.report.site.pages import write_site
    from difftest.report.site.terminal import show

    found = stored_runs(folders)
    total = len(found.runs)

    def said(number: int) -> None:
        if not quiet and sys.stderr.isatty():
            typer.echo(f"\rreading run {number + 1} of {total}", err=True, nl=number + 1 == total)

    whole = ledger(found.runs, found.troubles, said)
    if html is None:
        show(whole, sys.stdout)
        return
    for path in write_site(whole, html):
        typer.echo(f"wrote {path}", err=True)
    for words in whole.troubles:
        typer.echo(f"not read: {words}", err=True)
