"""Suites: folders of cases that belong together, with a `suite.toml` that says where they come from and a `known.toml`
with the known divergences of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from difftest.atomic import UnfitError, contents
from difftest.case.manifest import KnownDivergence, as_toml, check_known
from difftest.errors import CaseError, refusal
from difftest.text import visible

SUITE, KNOWN = "suite.toml", "known.toml"
T = TypeVar("T")
LARGEST = 4 << 20  # bytes of a suite's file


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `suite.toml` says."""

    name: str
    source: str = ""  # where it was made from
    revision: str = ""
    done: list[str] = []  # what was done to the images to let them run, in sentences


class KnownFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `known.toml` says."""

    known: list[KnownDivergence] = []


def is_suite(folder: Path) -> bool:
    return (folder / SUITE).is_file()


def load_suite(folder: Path) -> Suite:
    """Raises CaseError."""
    return _decoded(folder / SUITE, Suite)


def known_of(folder: Path) -> list[KnownDivergence]:
    """The known divergences of a suite, in order; none where it has no such file. Raises CaseError."""
    path = folder / KNOWN
    if not path.is_file():
        return []
    known = _decoded(path, KnownFile).known
    for one in known:
        if not one.case:
            raise CaseError(f"{path}: the [[known]] entry of {', '.join(one.checks)} names no case")
        check_known(one, path)
    return known


def text_with_known(text: str, known: Sequence[KnownDivergence], case: str) -> str:
    """A manifest's text with the entries of its suite that are of this case."""
    own = [as_toml(one) for one in known if one.case == case]
    return "\n".join([text.rstrip(), "", *own]) if own else text


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.toml.decode(contents(path, LARGEST).decode(), type=kind)
    except OSError as error:
        raise refusal(error, f"{path}: {error.strerror}", otherwise=CaseError) from error
    except (msgspec.DecodeError, UnicodeDecodeError, UnfitError, RecursionError) as error:
        raise CaseError(f"{path}: {visible(str(error), 300)}", hint="see docs/suites.md for its keys") from error
