"""Writing `[[known]]` entries into a case's manifest, or into the file of its suite. What is there stays as it is,
comments and all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from difftest.atomic import write, writing
from difftest.case.case import BUNDLED, MANIFEST, load
from difftest.case.manifest import OF_LOGS, KnownDivergence, as_toml
from difftest.case.suite import KNOWN, KnownFile, is_suite, known_of
from difftest.errors import CaseError
from difftest.judging.known import covered_side
from difftest.judging.result import Result
from difftest.report.digest import Digest, grouped, standing
from difftest.run.metadata import CaseSnapshot
from difftest.text import visible
from difftest.verdict import MEANINGS, Status

LONGEST_PATTERN = 200  # characters of a reason that an entry is known by


def manifest_path(snapshot: CaseSnapshot) -> Path:
    """Where the manifest of a stored run's case is now. Raises CaseError for an image that has none."""
    folder = BUNDLED / snapshot.argument if "/" not in snapshot.argument else Path(snapshot.argument)
    if not (folder / MANIFEST).is_file():
        raise CaseError(
            f"{visible(snapshot.argument, 300)}: no case folder with a {MANIFEST} is there",
            hint="an image needs one to have known divergences: a folder with the image and a case.toml (docs/case.md)",
        )
    return folder / MANIFEST


def known_path(snapshot: CaseSnapshot) -> Path:
    """The file that has what is known of a stored run's case: its manifest, or that of its suite. Raises CaseError for
    an image that has none.
    """
    path = manifest_path(snapshot)
    suite = path.parent.absolute().parent
    return suite / KNOWN if is_suite(suite) else path


def entries_of_all(
    whole: Digest, *, reason: str, link: str, kernels: str, bochs: str, every_target: bool
) -> dict[Path, list[KnownDivergence]]:
    """What is known of all divergences of a run that nobody knew, by the file that it goes into. Tests of an image's
    own with one verdict for one reason are one entry. Raises CaseError where there are none.
    """
    found: dict[Path, list[KnownDivergence]] = {}
    for pair in whole.pairs:
        new = [result for result in pair.results if standing(result) == "new"]
        for group in grouped(new):
            one = entry(group[0], reason=reason, link=link, kernels=kernels, bochs=bochs, every_target=every_target)
            checks = [result.check for result in group]
            known = msgspec.structs.replace(one, check=checks if len(checks) > 1 else checks[0])
            found.setdefault(known_path(pair.case), []).append(_placed(known, pair.case))
    if not found:
        raise CaseError(
            f"the run {whole.meta.run} has no divergence that is not known", hint="`difftest report` shows what it has"
        )
    return found


def _placed(known: KnownDivergence, snapshot: CaseSnapshot) -> KnownDivergence:
    """An entry as its file has it: that of a suite names the case."""
    return msgspec.structs.replace(known, case=snapshot.name) if known_path(snapshot).name == KNOWN else known


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
        pattern=re.escape(result.reason[:LONGEST_PATTERN]) if result.check in OF_LOGS or not (match or died) else "",
        died=died,
    )


def accepted_all(
    whole: Digest, *, reason: str, link: str, kernels: str, bochs: str, every_target: bool
) -> dict[Path, int]:
    """Write all divergences of a run that nobody knew; how many entries went into which file. Raises CaseError."""
    written = entries_of_all(whole, reason=reason, link=link, kernels=kernels, bochs=bochs, every_target=every_target)
    for path, known in written.items():
        if path.name == KNOWN:
            accept_into_suite(path, known)
        else:
            for one in known:
                accept(path, one)
    return {path: len(known) for path, known in written.items()}


def accept_of(snapshot: CaseSnapshot, known: KnownDivergence) -> tuple[Path, str]:
    """Write an entry to where the case of a stored run has what is known of it: the file, and the entry's text. Raises
    CaseError.
    """
    path, placed = known_path(snapshot), _placed(known, snapshot)
    return path, accept_into_suite(path, [placed]) if path.name == KNOWN else accept(path, placed)


def accept_into_suite(path: Path, known: Sequence[KnownDivergence]) -> str:
    """Append entries, which name their cases, to a suite's file, which is made where there is none. Returns their text.

    Raises CaseError when the file is none, before or (then nothing is written) afterwards.
    """
    before = known_of(path.parent)
    text = "\n".join(map(as_toml, known))
    whole = f"{path.read_text().rstrip()}\n\n{text}" if path.is_file() else text
    try:
        after = msgspec.toml.decode(whole, type=KnownFile).known
    except msgspec.DecodeError as error:
        raise CaseError(f"{path}: entries cannot be appended: {error}", hint=f"add them by hand:\n{text}") from error
    if after != [*before, *known]:
        raise CaseError(f"{path}: entries cannot be appended", hint=f"add them by hand:\n{text}")
    with writing(path):
        write(path, whole.encode())
    return text


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
