"""The table of report forms: each is a module of this folder and an entry here, which gives `difftest report` its
option.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class OptionKind(enum.Enum):
    """What the form's option takes, and with that what its function takes and gives."""

    FILE = enum.auto()  # function(run) -> text or bytes, which are written to the file; `-` is the output
    NOTHING = enum.auto()  # function(run) -> text or bytes, which are printed
    CHECK = enum.auto()  # function(run, check) -> text or bytes, which are printed
    PLACE = enum.auto()  # function(run, file) -> the paths that it has changed
    FOLDER = enum.auto()  # function(run, folder) -> the paths that it has written


class Form(NamedTuple):
    """One form. Its module is loaded when it is asked for."""

    module: str  # in this folder
    function: str
    help: str
    option: OptionKind = OptionKind.FILE

    def load(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(f"difftest.report.{self.module}"), self.function)
        return function


# By option, in the order in which they are listed and written.
FORMS = {
    "html": Form("html", "html_report", "The self-contained HTML report."),
    "json": Form("json", "json_report", "Print the JSON report.", OptionKind.NOTHING),
    "jsonl": Form("json", "json_lines", "JSON Lines: all results and observations."),
    "junit": Form("junit", "junit", "JUnit XML."),
    "ktap": Form("ktap", "ktap", "KTAP."),
    "summary": Form("markdown", "summary", "Markdown for a job's summary page."),
    "catalogue": Form("catalogue", "of_run", "What each check showed, in Markdown."),
    "findings": Form(
        "findings",
        "put_findings",
        "Put the table of what was found into a Markdown file, between its marks.",
        OptionKind.PLACE,
    ),
    "suite": Form(
        "suites",
        "put_suite",
        "Put the table of a suite's images into a Markdown file, between its marks.",
        OptionKind.PLACE,
    ),
    "exits": Form(
        "exits", "exits_report", "Print which VM exits L0 handled: of a run with --exits.", OptionKind.NOTHING
    ),
    "csv": Form("tables", "write_csv", "Tables of results, fields and timings.", OptionKind.FOLDER),
    "parquet": Form("tables", "write_parquet", "The same tables as Parquet.", OptionKind.FOLDER),
    "bug": Form("bug", "bug_report", "Print the bug report of a check's divergence.", OptionKind.CHECK),
}
