"""Values of options that typer's own types do not check."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from difftest.case.manifest import MOST_SECONDS

LEAST_SECONDS = 0.1


def seconds(text: str) -> float:
    """A number of seconds that a boot may take. Raises typer.BadParameter, also for `nan` and `inf`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not LEAST_SECONDS <= value <= MOST_SECONDS:
        raise typer.BadParameter(f"{text} is no number from {LEAST_SECONDS} to {MOST_SECONDS}.")
    return value


def names(option: str, given: Sequence[str] | None) -> list[str]:
    """The names in values that may hold several with commas, each once. Raises typer.BadParameter when there is none
    although the option was given.
    """
    found = [name for part in given or [] for name in map(str.strip, part.split(",")) if name]
    if given and not found:
        raise typer.BadParameter("it names nothing.", param_hint=f"'{option}'")
    return list(dict.fromkeys(found))
