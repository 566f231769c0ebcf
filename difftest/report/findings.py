"""What some runs found: each fault with who is wrong, in which versions, what it is, and the checks that show it.

docs/catalogue.md has all of them; README and the head of the catalogue sum them up by case. From stored runs of several
versions, offline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from difftest.atomic import write, writing
from difftest.errors import StoreError
from difftest.judging.result import Result, Role, Side
from difftest.report.markdown import cell
from difftest.report.words import sentence
from difftest.run.store import StoredRun
from difftest.verdict import Verdict

START, END = "<!-- findings: written by `make catalogue`, do not edit -->", "<!-- end of findings -->"
ADDRESS = re.compile(r"https://[\w./?=&%#:+~-]+", re.ASCII)  # that may be in a link
ROW = re.compile(r"([A-Z]+\d*)-(\d+)")
SUBJECT = "KVM"  # whose faults come first
SHOWN_FAULTS = 1  # of a case in the summary
LEAST_RANGE = 3  # numbers in a row that are written as a range


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. `who` is the implementation, `versions` those that show it, or "" where all that were run do."""

    who: str
    versions: str
    what: str
    link: str
    checks: list[tuple[str, str]]  # case and id


class _Group(msgspec.Struct):
    versions: set[str] = msgspec.field(default_factory=set)
    checks: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)
    link: str = ""


def findings(runs: Sequence[StoredRun]) -> list[Finding]:
    """The faults that these runs show, KVM's first, else in the order of the checks.

    Raises StoreError for a run that cannot be read.
    """
    groups: dict[tuple[str, str], _Group] = {}
    tried: dict[str, set[str]] = {}
    for run in runs:
        for result in run.all_results():
            for name, version in _versions(run, result):
                tried.setdefault(name, set()).add(version)
            for side, name, version in _blamed(run, result):
                said = result.known.cause(of_reference=side.role == Role.REFERENCE) if result.known else ("", "")
                what = said[0] or result.summary or result.reason
                group = groups.setdefault((name, what), _Group())
                group.versions.add(version)
                group.checks.setdefault((result.case, result.check))
                group.link = group.link or said[1]
    found = [
        Finding(
            who=name,
            versions=_versions_said(group.versions, tried[name]),
            what=what,
            link=group.link,
            checks=list(group.checks),
        )
        for (name, what), group in groups.items()
    ]
    return sorted(found, key=lambda one: one.who != SUBJECT)


def table(found: Sequence[Finding]) -> str:
    """The findings as a Markdown table."""
    lines = ["| who | what | checks |", "|---|---|---|"]
    for one in found:
        who = f"{one.who} {one.versions}".strip()
        lines.append(f"| {cell(who)} | {_what(one)} | {', '.join(_rows([check for _, check in one.checks]))} |")
    return "\n".join(lines)


def summary(found: Sequence[Finding]) -> str:
    """How many faults there are by implementation and case, and what those are that most checks show, as a Markdown
    table.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        for case in dict.fromkeys(case for case, _ in one.checks):
            groups.setdefault((one.who, case), []).append(one)
    lines = ["| who | case | faults | checks | such as |", "|---|---|---|---|---|"]
    for (who, case), faults in groups.items():
        shown = {one.what: len({check for name, check in one.checks if name == case}) for one in faults}
        checks = {check for one in faults for name, check in one.checks if name == case}
        first = sorted(faults, key=lambda one: -shown[one.what])[:SHOWN_FAULTS]
        cells = [cell(who), f"`{cell(case)}`", str(len(faults)), str(len(checks)), "; ".join(map(_what, first))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _what(one: Finding) -> str:
    """What the fault is, with a link to where it is reported."""
    link = f" ([report]({one.link}))" if ADDRESS.fullmatch(one.link) else ""
    return f"{cell(sentence(one.what).rstrip('.'))}{link}"


def put_into(text: str, rows: str) -> str:
    """A document with the table between its marks replaced. Raises ValueError for one without the marks."""
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"no marks {START} and {END}")
    return f"{head}{START}\n{rows}\n{END}{tail}"


def put_findings(run: StoredRun, path: Path) -> list[Path]:
    """Put what a run, and the other runs of its command, found by case into a document. Raises StoreError, also for a
    document without the marks.
    """
    rows = summary(findings([*run.siblings(), run]))
    with writing(path):
        text = path.read_text(encoding="utf-8")
        try:
            write(path, put_into(text, rows).encode())
        except ValueError as error:
            raise StoreError(f"{path}: {error}", hint="put them where the table is to be") from error
    return [path]


def _versions(run: StoredRun, result: Result) -> Iterator[tuple[str, str]]:
    """Each side that was judged, by the name that a finding has for it, with its version."""
    for side in result.sides:
        identity = run.meta.identities.get(side.target, {})
        key = "kernel" if side.role == Role.SUBJECT and "kernel" in identity else "bochs"
        version = re.match(r"\d+\.\d+", identity.get(key, ""))
        yield side.implementation, version[0] if version else ""


def _blamed(run: StoredRun, result: Result) -> Iterator[tuple[Side, str, str]]:
    """The sides that a result blames, with their names and versions as in `_versions`. What is shared is blamed on the
    CPU, which fails on its own.
    """
    wrong = {(side.role, side.target) for side in result.wrong}
    if result.verdict == Verdict.SHARED and result.reference.status.bad:
        wrong.add((Role.REFERENCE, result.reference.target))
    for side, named in zip(result.sides, _versions(run, result), strict=True):
        if (side.role, side.target) in wrong:
            yield side, *named


def _versions_said(versions: set[str], tried: set[str]) -> str:
    """ "" where all the versions that were run show it."""
    if versions == tried and len(tried) > 1:
        return ""
    return ", ".join(sorted(versions - {""}, key=lambda one: [int(part) for part in one.split(".")]))


def _rows(checks: Sequence[str]) -> list[str]:
    """The rows of the catalogue that checks belong to, in code marks, with runs of numbers as ranges."""
    names = list(dict.fromkeys(check.partition("/")[0] for check in checks))
    parts: list[list[str]] = []
    for name in names:
        now, before = ROW.fullmatch(name), ROW.fullmatch(parts[-1][-1]) if parts else None
        follows = now and before and now[1] == before[1] and int(now[2]) == int(before[2]) + 1
        if follows:
            parts[-1].append(name)
        else:
            parts.append([name])
    shown = []
    for part in parts:
        long = len(part) >= LEAST_RANGE
        shown += [f"`{part[0]}` to `{part[-1]}`"] if long else [f"`{cell(name)}`" for name in part]
    return shown
