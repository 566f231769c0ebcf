"""`difftest report`: a stored run told again, in the forms that are asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Results, RunName, default_results

if TYPE_CHECKING:
    from difftest.run.store import StoredRun


def report(
    name: RunName = "latest",
    html: Annotated[Path | None, typer.Option("--html", help="The self-contained HTML report.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the JSON report.")] = False,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", help="JSON Lines: all results and observations.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="JUnit XML.")] = None,
    ktap: Annotated[Path | None, typer.Option("--ktap", help="KTAP.")] = None,
    summary: Annotated[Path | None, typer.Option("--summary", help="Markdown for a job's summary page.")] = None,
    catalogue: Annotated[Path | None, typer.Option("--catalogue", help="What each check showed, in Markdown.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FOLDER", help="Tables of results, fields and timings.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FOLDER", help="The same tables as Parquet.")
    ] = None,
    bug: Annotated[
        str | None, typer.Option("--bug", metavar="CHECK", help="Print the bug report of a check's divergence.")
    ] = None,
    results: Results = default_results,
) -> None:
    """Report a stored run again; no emulator is started. Several forms may be asked for, and `-` as a file is the
    output.
    """
    from difftest.run.store import StoredRun

    stored = StoredRun.find(results, name)
    files = {"html": html, "jsonl": jsonl, "junit": junit, "ktap": ktap, "summary": summary, "catalogue": catalogue}
    wanted = {form: path for form, path in files.items() if path is not None}
    for form, path in wanted.items():
        write_form(stored, form, path)
    if json:
        write_form(stored, "json", Path("-"))
    if bug is not None:
        from difftest.report.bug import bug_report

        typer.echo(bug_report(stored, bug), nl=False)
    if csv is not None or parquet is not None:
        from difftest.report.tables import write_csv, write_parquet

        for folder, write in ((csv, write_csv), (parquet, write_parquet)):
            for path in write(stored, folder) if folder is not None else []:
                typer.echo(f"wrote {path}", err=True)
    if not (wanted or json or csv or parquet or bug):
        show_report(stored)


def show_report(stored: StoredRun, *, full: bool = True) -> None:
    from difftest.report.terminal import show

    show(stored, sys.stdout, full=full)


def write_form(stored: StoredRun, form: str, path: Path) -> None:
    """Write a run in one form to a file, or to the output for `-`. Raises StoreError."""
    from difftest.atomic import write, writing

    text = _form(stored, form)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    if path == Path("-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
    typer.echo(f"wrote {path}", err=True)


def _form(stored: StoredRun, form: str) -> str | bytes:
    match form:
        case "html":
            from difftest.report.html import html_report

            return html_report(stored)
        case "json":
            from difftest.report.json import json_report

            return json_report(stored) + b"\n"
        case "jsonl":
            from difftest.report.json import json_lines

            return json_lines(stored)
        case "junit":
            from difftest.report.junit import junit

            return junit(stored)
        case "ktap":
            from difftest.report.ktap import ktap

            return ktap(stored)
        case "summary":
            from difftest.report.markdown import summary

            return summary(stored)
        case _:
            from difftest.report.catalogue import catalogue

            return catalogue([stored])
