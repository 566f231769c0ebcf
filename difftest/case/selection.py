"""Which cases and checks a command line means: cases by name, pattern or group, bundled ones and those of further
folders; checks by id, the beginning of an id, or pattern.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

from difftest.case.case import BUNDLED, MANIFEST, Case, load
from difftest.errors import CaseError

WILD = frozenset("*?[")  # what makes a pattern of a name
NEAR = 5  # names that an error shows


def bundled(folders: Sequence[Path] = (BUNDLED,)) -> list[Case]:
    """All cases below these folders, by name. Raises CaseError when there is none, on the first broken manifest, or for
    a name used twice.
    """
    cases: dict[str, Case] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            case = load(path.parent)
            if case.name in cases:
                raise CaseError(f"{path}: the name {case.name} is taken by {cases[case.name].folder}")
            cases[case.name] = case
    if not cases:
        where = ", ".join(map(str, folders))
        hint = "a checkout and a wheel of difftest-x86 bring cases along; --cases names other folders of cases"
        raise CaseError(f"there is no case in {where}", hint=hint)
    return sorted(cases.values(), key=lambda case: case.name)


def find(folders: Sequence[Path], patterns: Sequence[str], groups: Sequence[str]) -> list[Case]:
    """The cases that patterns and groups name, of the bundled ones and of those below `folders`. Raises CaseError."""
    if (
        patterns
        and not groups
        and not folders
        and not any(WILD & set(pattern) or "/" in pattern for pattern in patterns)
    ):
        # Bundled cases are called as their folders are: the manifests of others need not be read.
        named = [load(BUNDLED / name) for name in dict.fromkeys(patterns) if (BUNDLED / name / MANIFEST).is_file()]
        if [case.name for case in named] == list(dict.fromkeys(patterns)):
            return named
    return select(bundled([BUNDLED, *folders]), patterns, groups)


def select(cases: Iterable[Case], patterns: Sequence[str], groups: Sequence[str]) -> list[Case]:
    """The cases that any pattern (shell style) or group names; all of them when nothing is asked.

    Raises CaseError for a pattern or a group that names none.
    """
    cases = list(cases)
    chosen: dict[str, Case] = {}
    for pattern in patterns:
        hits = [case for case in cases if fnmatch.fnmatchcase(case.name, pattern)]
        if not hits:
            near = near_names(pattern, [case.name for case in cases])
            raise CaseError(f"no case is called {pattern}", hint=f"{near}`difftest list` shows the cases")
        chosen |= {case.name: case for case in hits}
    for group in groups:
        hits = [case for case in cases if group in case.manifest.groups]
        if not hits:
            names = sorted({name for case in cases for name in case.manifest.groups})
            raise CaseError(f"no case is in group {group}", hint=f"groups: {', '.join(names)}")
        chosen |= {case.name: case for case in hits}
    return list(chosen.values()) if patterns or groups else cases


def checks_named(patterns: Sequence[str], ids: Sequence[str]) -> set[str]:
    """The ids that these patterns name: an exact id that check alone, the beginning of ids up to a slash all that begin
    so, a shell pattern all whose id, or its beginning up to a slash, it matches.

    Raises CaseError, with near names, for a pattern that names none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        hits = [check for check in ids if check == pattern] or [check for check in ids if matches(pattern, check)]
        if not hits:
            near = near_names(pattern, list(dict.fromkeys(name for check in ids for name in beginnings(check))))
            raise CaseError(f"no check called {pattern}", hint=f"{near}`difftest list --checks` shows the checks")
        chosen |= set(hits)
    return chosen


def beginnings(check: str) -> list[str]:
    """An id and what it begins with, up to each of its slashes, the shortest first."""
    parts = check.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def matches(pattern: str, check: str) -> bool:
    """Whether a pattern that is not the id itself names a check."""
    if WILD & set(pattern):
        return any(fnmatch.fnmatchcase(name, pattern) for name in beginnings(check))
    return check.startswith(f"{pattern.removesuffix('/')}/")


def near_names(name: str, names: Sequence[str]) -> str:
    """The beginning of a hint: the names that are nearest, if any are, or else the first few."""
    near = difflib.get_close_matches(name, names, NEAR, 0.5)
    if near:
        return f"near: {', '.join(near)}; "
    return f"there are: {', '.join(names[:NEAR])}{', ...' * (len(names) > NEAR)}; " if names else ""
