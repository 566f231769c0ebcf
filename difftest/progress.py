"""Telling what a run is doing: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from difftest.text import visible


class Progress:
    """A context manager; `say()` may be called from inside it, and only there."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._begun = time.monotonic()
        self._lines: dict[tuple[str, str], tuple[str, float]] = {}
        live = console.is_terminal and not quiet
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._table) if live else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, case: str, target: str, line: str) -> None:
        """One short line on what happens to a case on a target; the words may come from a guest."""
        line = visible(line, 200)
        self._lines[case, target] = (line, time.monotonic())
        if not self._live and not self._quiet:
            self._console.print(Text(f"[{time.monotonic() - self._begun:6.1f} s] {case} on {target}: {line}"), soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, show_header=False)
        for (case, target), (line, since) in list(self._lines.items())[-20:]:
            elapsed = f"{time.monotonic() - since:.0f} s"
            table.add_row(Spinner("dots"), Text(case), Text(target, style="cyan"), Text(line), Text(elapsed, style="dim"))
        return table
