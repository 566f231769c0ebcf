"""Writing a `[[known]]` entry into a case's manifest. What stands there stays as it is, comments and all."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from difftest.atomic import write, writing
from difftest.case.case import BUNDLED, MANIFEST, load
from difftest.case.manifest import HOST_KERNEL, KnownDivergence, as_toml
from difftest.errors import CaseError
from difftest.judging.known import covered_side
from difftest.judging.result import Result
from difftest.report.digest import standing
from difftest.run.store import CaseSnapshot
from difftest.text import visible
from difftest.verdict import MEANINGS, Status

LONGEST_PATTERN = 200  # characters of a reason that an entry is known by


def manifest_path(snapshot: CaseSnapshot) -> Path:
    """Where the manifest of a stored run's case lies now. Raises CaseError for an image that has none."""
    folder = BUNDLED / snapshot.argument if "/" not in snapshot.argument else Path(snapshot.argument)
    if not (folder / MANIFEST).is_file():
        raise CaseError(
            f"{visible(snapshot.argument, 300)}: no case folder with a {MANIFEST} is there",
            hint="an image needs one to have known divergences: a folder with the image and a case.toml (docs/case.md)",
        )
    return folder / MANIFEST


def entry(result: Result, *, reason: str, link: str, kernels: str, bochs: str, every_target: bool) -> KnownDivergence:
    """What is known of a result. Raises CaseError when it is no divergence, is known already, or the range is none."""
    name = f"{result.case}/{result.check}"
    if standing(result) == "gone":
        raise CaseError(
            f"{name} is known to diverge and does not any more",
            hint=f"take its [[known]] entry out of {MANIFEST}, or give it the versions that it holds for",
        )
    if not MEANINGS[result.verdict].diverges:
        raise CaseError(
            f"{name}: {result.label}: there is no divergence to accept", hint="`difftest report` shows them"
        )
    if result.expected:
        raise CaseError(f"{name} is known already: {result.known.reason if result.known else ''}")
    for option, versions in (("--kernels", kernels), ("--bochs", bochs)):
        try:
            SpecifierSet(versions)
        except InvalidSpecifier as error:
            raise CaseError(f"{option} {versions}: {error}", hint='a range of versions, such as ">=5.10,<8"') from error
    targets = [] if every_target else [result.subject.target]
    side = covered_side(result)
    died = side.status == Status.DIED
    match: dict[str, str | list[str]] = {
        field.name: field.values[side.target]
        for field in result.fields
        if (field.broken(side.target) or (field.differs and not field.required)) and side.target in field.values
    }
    return KnownDivergence(
        check=result.check,
        verdict=result.verdict,
        reason=reason,
        link=link,
        targets=targets,
        kernels=kernels,
        bochs=bochs,
        match={} if died else match,
        # What no field shows is known by its reason.
        pattern=re.escape(result.reason[:LONGEST_PATTERN])
        if result.check == HOST_KERNEL or not (match or died)
        else "",
        died=died,
    )


def accept(path: Path, known: KnownDivergence) -> str:
    """Append an entry to a manifest. Returns its text.

    Raises CaseError when the file is no manifest, before or (then nothing is written) afterwards.
    """
    case = load(path.parent)
    text = as_toml(known)
    whole = f"{case.text.rstrip()}\n\n{text}"
    try:
        after = msgspec.toml.decode(whole, type=type(case.manifest))
    except msgspec.DecodeError as error:
        hint = "is `known` written in another way there? Add the entry by hand"
        raise CaseError(f"{path}: an entry cannot be appended: {error}", hint=f"{hint}:\n{text}") from error
    if after.known != [*case.manifest.known, known]:
        raise CaseError(f"{path}: an entry cannot be appended", hint=f"add it by hand:\n{text}")
    with writing(path):
        write(path, whole.encode())
    return text
