"""What an export is of: a whole case, or one case with some of its checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from difftest.case.case import BUNDLED, Case
from difftest.case.selection import bundled
from difftest.errors import CaseError
from difftest.image.prepare import PreparedCase, prepare, with_checks


def subject(name: str, folders: Sequence[Path], cache: Path) -> PreparedCase:
    """The case that `name` is of, with the checks that it names: CASE, CASE/CHECK, or CHECK, which is an id or the
    beginning of ids. Raises CaseError, also where several cases have such a check.
    """
    cases = bundled([BUNDLED, *folders])
    by_name = {case.name: case for case in cases}
    if name in by_name:
        return prepare(by_name[name], cache)
    case, _, check = name.partition("/")
    if check and case in by_name:
        (found,) = with_checks([prepare(by_name[case], cache)], [check])
        return found
    return _with_check(name, [prepare(case, cache) for case in cases if _has_checks(case)])


def _with_check(check: str, cases: Sequence[PreparedCase]) -> PreparedCase:
    exact = [one for one in cases if any(about.check == check for about in one.abouts)]
    found = with_checks(exact or cases, [check])
    if len(found) > 1:
        names = ", ".join(f"{one.case.name}/{check}" for one in found)
        raise CaseError(f"several cases have a check called {check}", hint=f"one of {names}")
    return found[0]


def _has_checks(case: Case) -> bool:
    return bool(case.manifest.sources or case.manifest.parameters)
