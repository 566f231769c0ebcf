"""A report form is one module and one entry of a table."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import difftest.report
from difftest.cli import application
from difftest.commands import report as report_command
from difftest.report import suites
from difftest.report.findings import END, START
from difftest.report.forms import FORMS, Form, OptionKind
from tests import sample_run as sample

TOY = """
def names(run):
    return f"{run.meta.run} has {[case.name for case in run.cases()]}"

def one(run, check):
    return f"{check} of {run.meta.run}"
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One module and two entries."""
    (tmp_path / "forms").mkdir()
    (tmp_path / "forms/toy.py").write_text(TOY)
    monkeypatch.setattr(difftest.report, "__path__", [*difftest.report.__path__, str(tmp_path / "forms")])
    monkeypatch.setitem(FORMS, "toy", Form("toy", "names", "The names of the cases."))
    monkeypatch.setitem(FORMS, "toy-check", Form("toy", "one", "One check.", OptionKind.CHECK))
    importlib.reload(report_command)
    yield
    monkeypatch.undo()
    sys.modules.pop("difftest.report.toy", None)
    importlib.reload(report_command)


def report(folder: Path, *arguments: str) -> str:
    argv = ["report", *arguments, "--results", str(folder)]
    done = CliRunner().invoke(application(argv), argv, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("toy")
def test_a_module_and_an_entry_are_a_form(tmp_path: Path) -> None:
    sample.write_run(tmp_path)
    assert "The names of the cases." in report(tmp_path, "--help")
    said = f"{sample.RUN} has ['{sample.CASE}']"
    assert report(tmp_path, "--toy", str(tmp_path / "new/toy.txt")) == f"wrote {tmp_path}/new/toy.txt\n"
    assert (tmp_path / "new/toy.txt").read_text() == said
    assert report(tmp_path, "--toy", "-") == said + "\n"
    assert report(tmp_path, "--toy-check", "a/b") == f"a/b of {sample.RUN}\n"


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_there_and_writes_what_its_option_says(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    if name == "parquet":
        assert callable(form.load()), "what it needs is an extra"
        return
    sample.write_run(tmp_path)
    out = tmp_path / "out"
    if form.option == OptionKind.PLACE:
        out.write_text(f"before\n{START}\n{END}\n{suites.START}\n{suites.END}\nafter\n")
    value = {OptionKind.NOTHING: [], OptionKind.CHECK: ["not-present"]}.get(form.option, [str(out)])
    printed = report(tmp_path, f"--{name}", *value)
    if form.option in (OptionKind.NOTHING, OptionKind.CHECK):
        assert printed.strip() and printed.endswith("\n")
        return
    assert printed.startswith(f"wrote {out}")
    if form.option == OptionKind.FOLDER:
        assert len(list(out.iterdir())) == 3
    else:
        assert out.stat().st_size > 100
    if form.option == OptionKind.PLACE:
        text = out.read_text()
        assert text.startswith("before\n") and text.endswith("after\n")


def test_several_forms_are_written_at_once(tmp_path: Path) -> None:
    sample.write_run(tmp_path)
    printed = report(tmp_path, "--junit", str(tmp_path / "j.xml"), "--ktap", "-", "--csv", str(tmp_path / "t"))
    assert "TAP version" in printed and (tmp_path / "j.xml").exists() and (tmp_path / "t/results.csv").exists()
