"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_CODES = """Exit codes: 0 all as expected; 1 an unexpected divergence, or a known one that vanished; 2 wrong usage, or nothing
selected; 3 some case got no verdict; 4 difftest itself failed; 130 interrupted."""

Results = Annotated[Path, typer.Option("--results", help="Folder that runs are kept in.")]
Folders = Annotated[list[Path] | None, typer.Option("--cases", help="More folders with cases; repeatable.")]
RunName = Annotated[str, typer.Argument(help="A run's name or folder.", metavar="[RUN]")]
