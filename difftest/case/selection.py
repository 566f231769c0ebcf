"""Which cases a command line means: bundled ones and those of further folders, by name, pattern or group."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

from difftest.case.case import BUNDLED, MANIFEST, Case, load
from difftest.errors import CaseError


def bundled(folders: Sequence[Path] = (BUNDLED,)) -> list[Case]:
    """All cases below these folders, by name. Raises CaseError on the first broken manifest, or a name used twice."""
    cases: dict[str, Case] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            case = load(path.parent)
            if case.name in cases:
                raise CaseError(f"{path}: the name {case.name} is taken by {cases[case.name].folder}")
            cases[case.name] = case
    return sorted(cases.values(), key=lambda case: case.name)


def find(folders: Sequence[Path], patterns: Sequence[str], groups: Sequence[str]) -> list[Case]:
    """The cases that patterns and groups name, of the bundled ones and of those below `folders`. Raises CaseError."""
    if patterns and not groups and not folders and not any(set(pattern) & set("*?[/") for pattern in patterns):
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
            raise CaseError(f"no case is called {pattern}", hint="`difftest list` shows the cases")
        chosen |= {case.name: case for case in hits}
    for group in groups:
        hits = [case for case in cases if group in case.manifest.groups]
        if not hits:
            names = sorted({name for case in cases for name in case.manifest.groups})
            raise CaseError(f"no case is in group {group}", hint=f"groups: {', '.join(names)}")
        chosen |= {case.name: case for case in hits}
    return list(chosen.values()) if patterns or groups else cases
