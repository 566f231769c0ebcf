"""README, docs and all that users see is plain technical English: a list of odd words that no text has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WIDTH = 120
# Each with what to say in its place.
ODD = {
    r"(?:tells?|told)(?! apart)": "says, reports, shows",
    r"(?:stands?|stood)(?! still| alone|-in)": "is, is written, applies",
    r"dear": "expensive",
    r"anew|afresh": "again",
    r"of which": "two sentences",
    r"behind": "after (in a text or in time)",
    r"(?:lea(?:ves?|ving)|left) to (?:later|others)": "is decided by, may be reused by",
    r"whence|hence|thereof|wherein|therein|to-morrow|albeit|lest|yonder": "a plain word",
}
PROSE = ["README.md", "cases/README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PYTHON = sorted(
    path.relative_to(ROOT).as_posix() for name in ("difftest", "emulators") for path in (ROOT / name).rglob("*.py")
)
TEMPLATES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "difftest").rglob("*.jinja"))


def odd(text: str) -> list[str]:
    return [
        f"{match[0]}: {instead}: ... {text[max(0, match.start() - 40) : match.end() + 40]!r}"
        for word, instead in ODD.items()
        for match in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
    ]


def prose(text: str) -> str:
    """Without code, addresses and what is quoted from others."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|https?://\S+", "", text)


def strings(source: str) -> Iterator[str]:
    """All string constants outside of docstrings, those in f-strings included."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_an_odd_word_is_found() -> None:
    assert odd("a mirror of which nothing is told") and odd("it Stands behind") and not odd("outstanding, foretold")
    assert list(strings('"""told"""\nx = f"it {y} stands"\ndef f():\n    "dear"\n    return "told"\n')) == [
        "it ", " stands", "told",
    ]  # fmt: skip
    assert prose("see `behind` at https://x/behind\n```\nstands\n```\n").split() == ["see", "at"]


@pytest.mark.parametrize("name", PROSE)
def test_documents_have_no_odd_word(name: str) -> None:
    assert odd(prose((ROOT / name).read_text(encoding="utf-8"))) == []


def test_what_users_see_has_no_odd_word() -> None:
    found = {
        name: [hit for text in strings((ROOT / name).read_text(encoding="utf-8")) for hit in odd(text)]
        for name in PYTHON
    }
    found |= {name: odd((ROOT / name).read_text(encoding="utf-8")) for name in TEMPLATES}
    assert {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize("name", PROSE)
def test_lines_of_documents_are_short(name: str) -> None:
    """But in tables, addresses, and what a terminal shows."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "    ")) and "://" not in line]
    assert long == []
