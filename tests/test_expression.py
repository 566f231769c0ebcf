"""Regular expressions of manifests: whatever they are and whatever guests print, they end in time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.host.errors import ExpressionError
from emulators.host.expression import LONGEST, SECONDS, Expression
from emulators.observation import Boot
from emulators.watch import Watch

# An expression and what it backtracks for ever on.
ENDLESS = "(a|a)*$"
SAID = "a" * 40 + "b"


@pytest.mark.parametrize("said", [SAID, SAID.encode(), bytearray(SAID.encode())])
def test_an_expression_that_backtracks_for_ever_is_stopped(said: str | bytes) -> None:
    with pytest.raises(ExpressionError, match="takes more than"):
        Expression(f"x|^{ENDLESS}").search(said)


def test_masking_is_stopped_too() -> None:
    begun = time.process_time()
    with pytest.raises(ExpressionError, match="takes more than"):
        Expression(ENDLESS).masked(SAID)
    assert time.process_time() - begun < 2 * SECONDS


def test_the_limit_is_for_all_that_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand texts that each take a little less than the limit are not let through."""
    monkeypatch.setattr("emulators.host.expression.SECONDS", 0.2)
    expression = Expression("(a|a)*b|c$")
    begun = time.process_time()
    with pytest.raises(ExpressionError):
        for _ in range(1000):
            expression.search("a" * 14)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "text", ["(", "(?P<x", "a{99999999999}", "(" * 400 + ")" * 400, "(?:" * 300, "a" * (LONGEST + 1), "\\", "\ud800"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text).check()


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        Expression(text).check()
    except ExpressionError:
        return
    Expression(text).search("some words\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [("^Halt: .*", "x\nHalt: done\n"), ("^alt", "Halt"), (r"(?<=took )\d+", "took 12 s"), ("b$", "ab\nc"), ("", "x")],
)
@pytest.mark.parametrize("multiline", [False, True])
def test_it_means_what_it_means_to_python(text: str, said: str, multiline: bool) -> None:
    ours, theirs = Expression(text, multiline=multiline), re.compile(text, re.MULTILINE if multiline else 0)
    assert ours.search(said) == ours.search(said.encode()) == (theirs.search(said) is not None)
    assert ours.masked(said) == theirs.sub("#", said)


def test_a_terminal_marker_that_backtracks_ends_the_boot() -> None:
    watch = Watch(Boot(image=Path("x"), image_sha256="", end=ENDLESS))
    with pytest.raises(ExpressionError, match="on what the guest printed"):
        watch.serial.feed(SAID.encode())


def test_a_search_goes_on_where_it_was_told_to() -> None:
    assert Expression("^b", multiline=True).search(b"b\na\nb", 2)
    assert not Expression("^b", multiline=True).search(b"b\na", 1)
