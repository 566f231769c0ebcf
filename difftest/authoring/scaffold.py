"""New case folders: written whole, or not at all."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from difftest.case.case import MANIFEST
from difftest.case.manifest import NAME
from difftest.errors import CaseError, refusal

TEMPLATES = Path(__file__).with_name("templates")


@contextlib.contextmanager
def new_case_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when the context ends well and vanishes when it does not.

    Raises CaseError when `folder` is there already, its name is no case's name, or the disk does not take it.
    """
    if not re.fullmatch(NAME, folder.name):
        hint = "lower-case letters, digits, dots and dashes"
        raise CaseError(f"{folder.name!r} cannot be the name of a case", hint=hint)
    if folder.exists():
        raise CaseError(f"{folder} is there already", hint="choose another name, or remove it first")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            filled = Path(temporary) / folder.name
            filled.mkdir()
            yield filled
            filled.rename(folder)
    except OSError as error:
        message, hint = f"cannot write {folder}: {error.strerror or error}", "is there room, and may you write there?"
        raise refusal(error, message, hint=hint, otherwise=CaseError) from error


def new_case(folder: Path) -> Path:
    """Write a case of the kit that builds and runs as it is. Raises CaseError."""
    with new_case_folder(folder) as filled:
        words = {"name": folder.name, "folder": str(folder)}
        (filled / MANIFEST).write_text(rendered("case.toml.jinja", **words))
        (filled / f"{folder.name}.c").write_text(rendered("case.c.jinja", **words))
    return folder


def rendered(template: str, **words: object) -> str:
    """A template of this folder, filled in."""
    import jinja2

    text = (TEMPLATES / template).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    return environment.from_string(text).render(words)
