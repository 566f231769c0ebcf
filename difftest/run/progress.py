"""Telling what a run is doing: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from difftest.text import visible

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Progress:
    """A context manager; `say()` may be called from inside it, and only there."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._begun = time.monotonic()
        self._lines: dict[tuple[str, str], tuple[str, float]] = {}
        self._live: Live | None = None
        # What draws the table takes its time to load: the first emulators start meanwhile.
        self._starting = threading.Thread(target=self._go_live) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Self:
        if self._starting:
            self._starting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._starting:
            self._starting.join()
        if self._live:
            self._live.stop()

    def say(self, case: str, target: str, line: str) -> None:
        """One short line on what happens to a case on a target; the words may come from a guest."""
        line = visible(line, 200)
        self._lines[case, target] = (line, time.monotonic())
        if not self._starting and not self._quiet:
            note(f"[{time.monotonic() - self._begun:6.1f} s] {case} on {target}: {line}")

    def _go_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(stderr=True), refresh_per_second=4, transient=True, get_renderable=self._table
        )
        self._live.start()

    def _table(self) -> Table:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False)
        for (case, target), (line, since) in list(self._lines.items())[-20:]:
            elapsed = f"{time.monotonic() - since:.0f} s"
            table.add_row(
                Spinner("dots"), Text(case), Text(target, style="cyan"), Text(line), Text(elapsed, style="dim")
            )
        return table


def note(line: str) -> None:
    """A line on the error output, whatever is in it."""
    print(visible(line, 1000), file=sys.stderr, flush=True)
