"""Finding one check of a run, and what a report needs of its case."""

from __future__ import annotations

import msgspec

from difftest.case.manifest import Manifest
from difftest.errors import StoreError
from difftest.judging.result import Result
from difftest.report.digest import Digest, Pair
from difftest.run.metadata import CaseSnapshot
from difftest.text import visible


def found(whole: Digest, name: str) -> tuple[Pair, Result]:
    """A check of the run by its id or as CASE/ID: of several pairs of targets, the first that diverges.

    Raises StoreError, also when the id is one in several cases.
    """
    hits = [
        (pair, result)
        for pair in whole.pairs
        for result in pair.results
        if name in (result.check, f"{result.case}/{result.check}")
    ]
    if not hits:
        raise StoreError(
            f"the run {whole.meta.run} has no check called {visible(name, 200)}",
            hint="`difftest report` shows the checks",
        )
    if len({pair.case.name for pair, _ in hits}) > 1:
        cases = ", ".join(dict.fromkeys(f"{pair.case.name}/{result.check}" for pair, result in hits))
        raise StoreError(
            f"several cases have a check called {visible(name, 200)}", hint=f"one of {visible(cases, 600)}"
        )
    return next((hit for hit in hits if hit[1].wrong), hits[0])


def manifest_of(case: CaseSnapshot) -> Manifest:
    """The case's manifest as it was; a bare one for an image that has none."""
    try:
        return msgspec.toml.decode(case.manifest, type=Manifest)
    except msgspec.DecodeError:
        return Manifest(name="image", title=case.title)
