"""All stored runs below some folders. A run that cannot be read is reported and left out; a copy counts once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from difftest.errors import StoreError
from difftest.run.store import StoredRun
from difftest.text import visible

DEEPEST = 6  # folders between one that is named and a run


class Found(msgspec.Struct, frozen=True):
    """The runs, the oldest first, and a line for each that cannot be read."""

    runs: list[StoredRun]
    troubles: list[str]


def stored_runs(folders: Sequence[Path]) -> Found:
    """Raises StoreError for a folder without a run in it."""
    runs: dict[tuple[str, str], StoredRun] = {}
    troubles = []
    for folder in folders:
        paths = list(_below(folder))
        if not paths:
            raise StoreError(f"{folder}: no run is in it", hint="name a run's folder, or one that runs are kept in")
        for path in paths:
            try:
                run = StoredRun.open(path)
            except StoreError as error:
                troubles.append(visible(str(error), 400))
            else:
                runs.setdefault((run.meta.run, run.meta.started), run)
    ordered = sorted(runs.values(), key=lambda run: (moment(run.meta.started), run.meta.run))
    return Found(ordered, troubles)


def moment(started: str) -> float:
    """When a run began, in seconds since 1970; 0 where it does not say."""
    try:
        when = datetime.fromisoformat(started)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _below(folder: Path) -> Iterator[Path]:
    """Folders with a run.json. Links are not followed, and nothing is looked for inside a run."""
    for place, names, files in os.walk(folder):
        path = Path(place)
        if "run.json" in files:
            names.clear()
            yield path
        elif len(path.relative_to(folder).parts) >= DEEPEST:
            names.clear()
        names.sort()
