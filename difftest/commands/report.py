"""`difftest report`: a stored run in the forms that are asked for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from difftest.commands.options import Results, RunName, default_results
from difftest.report.forms import FORMS, Form, OptionKind

if TYPE_CHECKING:
    from difftest.run.store import StoredRun


def with_forms(forms: Mapping[str, Form]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each form, in the place of its `**asked`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind != inspect.Parameter.VAR_KEYWORD]
        every = [*own, *map(_option, forms, forms.values())]
        command.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in every}
        return command

    return decorate


def _option(name: str, form: Form) -> inspect.Parameter:
    kind, metavar = {
        OptionKind.FILE: (Path | None, None),
        OptionKind.NOTHING: (bool, None),
        OptionKind.CHECK: (str | None, "CHECK"),
        OptionKind.PLACE: (Path | None, None),
        OptionKind.FOLDER: (Path | None, "FOLDER"),
    }[form.option]
    option = typer.Option(f"--{name}", metavar=metavar, help=form.help)
    default = False if form.option == OptionKind.NOTHING else None
    return inspect.Parameter(
        _parameter(name), inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, option]
    )


def _parameter(name: str) -> str:
    return name.replace("-", "_")


@with_forms(FORMS)
def report(name: RunName = "latest", results: Results = default_results, **asked: Any) -> None:
    """Report a stored run again; no emulator is started. Several forms may be asked for, and `-` as a file is the
    output.
    """
    from difftest.run.store import StoredRun

    stored = StoredRun.find(results, name)
    values = {form: asked[_parameter(form)] for form in FORMS}
    wanted = {form: value for form, value in values.items() if value is not None and value is not False}
    for form, value in wanted.items():
        write_form(stored, form, value)
    if not wanted:
        show_report(stored)


def show_report(stored: StoredRun, *, full: bool = True) -> None:
    from difftest.report.terminal import show

    show(stored, sys.stdout, full=full)


def write_form(stored: StoredRun, name: str, value: Any) -> None:
    """Write a run in one form, with what its option was given. Raises StoreError."""
    form = FORMS[name]
    make = form.load()
    if form.option in (OptionKind.FOLDER, OptionKind.PLACE):
        written = make(stored, value)
    elif form.option == OptionKind.FILE and value != Path("-"):
        written = [_write(value, _bytes(make(stored)))]
    else:
        data = _bytes(make(stored, value) if form.option == OptionKind.CHECK else make(stored))
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        sys.stdout.buffer.flush()
        return
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


def _write(path: Path, data: bytes) -> Path:
    from difftest.atomic import write, writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
    return path
