"""A run's tables as files: results, fields, timings, as CSV or Parquet. Imports pandas, so it is imported where it is
used.
"""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path

import pandas as pd

from difftest.atomic import write, writing
from difftest.errors import StoreError
from difftest.report.frames import fields_frame, results_frame, timings_frame
from difftest.run.store import StoredRun
from difftest.text import visible

LONGEST = 4000
FORMULA = re.compile(r"[=+@]|-.")  # what a spreadsheet would compute when it opens a CSV file


def tables(run: StoredRun) -> dict[str, pd.DataFrame]:
    """The frames by name, all text harmless. Raises StoreError for a run that cannot be read."""
    frames = {"results": results_frame(run), "fields": fields_frame(run), "timings": timings_frame(run)}
    return {name: frame.map(_text) for name, frame in frames.items()}


def write_csv(run: StoredRun, folder: Path) -> list[Path]:
    """results.csv, fields.csv and timings.csv in `folder`. A cell that would be a formula begins with an apostrophe."""
    return _write(
        folder, "csv", {name: frame.map(_cell).to_csv(index=False).encode() for name, frame in tables(run).items()}
    )


def write_parquet(run: StoredRun, folder: Path) -> list[Path]:
    """The same as .parquet. Raises StoreError when pyarrow is not there: it is large and an extra."""
    if importlib.util.find_spec("pyarrow") is None:
        raise StoreError("Parquet needs pyarrow", hint="pip install 'difftest-x86[parquet]', or --csv")
    encoded = {}
    for name, frame in tables(run).items():
        out = io.BytesIO()
        frame.to_parquet(out, index=False)
        encoded[name] = out.getvalue()
    return _write(folder, "parquet", encoded)


def _write(folder: Path, suffix: str, files: dict[str, bytes]) -> list[Path]:
    paths = [folder / f"{name}.{suffix}" for name in files]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in zip(paths, files.values(), strict=True):
            write(path, data)
    return paths


def _text(value: object) -> object:
    return visible(value, LONGEST) if isinstance(value, str) else value


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
