"""`difftest report`: a stored run told again, in the form that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Results, RunName

if TYPE_CHECKING:
    from difftest.store import StoredRun


def report(
    name: RunName = "latest",
    html: Annotated[Path | None, typer.Option("--html", help="Write the self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the JSON report.")] = False,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="Write what each check showed to this Markdown file.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Report a stored run again; no emulator is started."""
    from difftest.store import StoredRun

    stored = StoredRun.find(results, name)
    if json:
        from difftest.report.json import json_report

        sys.stdout.buffer.write(json_report(stored) + b"\n")
    elif catalogue is not None:
        from difftest.report.catalogue import catalogue as written

        catalogue.write_text(written(stored), encoding="utf-8")
    elif html is not None:
        write_html(stored, html)
    else:
        show_report(stored)


def show_report(stored: StoredRun) -> None:
    from difftest.report.terminal import show

    show(stored, sys.stdout)


def write_html(stored: StoredRun, path: Path) -> None:
    from difftest.report.html import html_report

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html_report(stored), encoding="utf-8")
    typer.echo(f"HTML report: {path}")
