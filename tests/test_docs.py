"""The documentation keeps up: every option, manifest key, exit code and line of a record is in it. It, and all that
users see, is plain technical English.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer.main
from msgspec.structs import fields

from difftest.case.manifest import AbsentRow, KnownDivergence, Manifest, Note
from difftest.case.selection import bundled
from difftest.cli import app
from difftest.report.findings import END, START
from difftest.report.json import json_lines
from difftest.run.store import StoredRun
from difftest.verdict import ExitCode, Verdict
from emulators.target import Confirmable, Emulator, Reproducible, Target
from tests import sample_run as sample

ROOT = Path(__file__).parent.parent
DOCS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
COMMANDS = DOCS["docs/commands.md"]
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


def sections() -> dict[str, str]:
    """The commands' sections of docs/commands.md, by the commands that their headings name."""
    found = {}
    for section in re.split(r"^## ", COMMANDS, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        found |= dict.fromkeys(re.findall(r"`difftest ([\w-]+)", heading), section)
    return found


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_option_of_a_command_is_documented(command: str) -> None:
    section = sections().get(command)
    assert section is not None, f"docs/commands.md has no section on difftest {command}"
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    missing = [
        option
        for parameter in parameters
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
        and option not in ("-h", "--help")
        and not re.search(rf"`{re.escape(option)}[ `]", section)
    ]
    assert missing == []


@pytest.mark.parametrize("kind", [Manifest, KnownDivergence, AbsentRow, Note])
def test_every_key_of_a_manifest_is_documented(kind: type[msgspec.Struct]) -> None:
    assert [field.name for field in fields(kind) if f"`{field.name}`" not in DOCS["docs/case.md"]] == []


def test_every_exit_code_is_documented() -> None:
    assert [code for code in ExitCode if f"| {code.value} |" not in COMMANDS] == []


def test_every_member_of_a_target_is_documented() -> None:
    parts = (Target, Emulator, Confirmable, Reproducible)
    members = [name for part in parts for name in (*part.__annotations__, *vars(part)) if not name.startswith("_")]
    assert {"name", "session", "variants", "standalone_boot"} <= set(members)
    assert [name for name in members if not re.search(rf"`{name}(\(\))?`", DOCS["docs/emulator.md"])] == []


def test_every_field_of_a_json_line_and_every_verdict_is_documented(tmp_path: Path) -> None:
    run: StoredRun = sample.write_run(tmp_path)
    text = DOCS["docs/formats.md"]
    for line in map(msgspec.json.decode, json_lines(run).splitlines()):
        (row,) = re.findall(rf"^\| `{line['kind']}` \| (.*) \|$", text, re.MULTILINE)
        missing = [name for name in line if name not in ("schema", "kind") and not re.search(rf"\b{name}\b", row)]
        assert missing == [], line["kind"]
    assert [verdict for verdict in Verdict if f"`{verdict.value}`" not in text] == []


def test_what_the_documents_point_at_is_there() -> None:
    for name, text in {**DOCS, "README.md": (ROOT / "README.md").read_text(encoding="utf-8")}.items():
        targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text) + re.findall(
            r"`((?:docs|difftest|emulators|cases)/[\w./-]+\w)`", text
        )
        folder = (ROOT / name).parent
        assert [target for target in targets if not ((folder / target).exists() or (ROOT / target).exists())] == [], (
            name
        )


def test_readme_and_catalogue_come_from_the_same_runs() -> None:
    """Both have the summary of what was found, which `make catalogue` writes from stored runs."""
    tables = []
    for text in ((ROOT / "README.md").read_text(encoding="utf-8"), DOCS["docs/catalogue.md"]):
        tables.append(text.partition(START)[2].partition(END)[0].strip())
    assert tables[0] == tables[1] and tables[0].count("\n") > 10
    known = {check.partition("/")[0] for case in bundled() for entry in case.manifest.known for check in entry.checks}
    every = DOCS["docs/catalogue.md"].partition("## Every fault")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z]+\d*-\d+)`", every))
    assert named and named <= known, "a finding that no case knows: run `make catalogue` again, or `difftest accept` it"


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


def test_what_cases_say_has_no_odd_word() -> None:
    """Summaries, reasons and notes head bug reports and rows of the catalogue."""
    paths = [path for pattern in ("*/case.toml", "*/*.c", "*/*.h") for path in (ROOT / "cases").glob(pattern)]
    found = {path.name: odd(" ".join(re.findall(r'"([^"\n]*)"', path.read_text(encoding="utf-8")))) for path in paths}
    assert len(paths) > 20 and {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize("name", PROSE)
def test_lines_of_documents_are_short(name: str) -> None:
    """But in tables, addresses, and what a terminal shows."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "    ")) and "://" not in line]
    assert long == []
