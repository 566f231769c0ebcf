"""From a case to the bytes that every target boots: built from sources, or taken from a file, padded and hashed."""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from difftest.build import BuildError, build_case, selection
from difftest.case import Case, CaseError
from difftest.disk import whole_cylinders
from difftest.plan import Prepared
from emulators.files import sha256

LARGEST = 8 << 30


def prepare(case: Case, cache: Path, checks: Sequence[str] = ()) -> Prepared:
    """Build or copy the case's image into `cache`, with only the checks that one of these patterns names.

    Raises CaseError with what to do.
    """
    if case.manifest.sources:
        try:
            built = build_case(case.name, case.folder, case.manifest.sources, cache / "built")
        except BuildError as error:
            raise CaseError(f"{case.name}: {error}", hint=error.hint) from error
        whole = Prepared(
            case=case, image=built.image, sha256=built.sha256, abouts=built.checks, numbers=tuple(range(len(built.checks)))
        )
        return _selected(whole, checks) if checks else whole
    if checks:
        raise CaseError(f"{case.name}: only cases built with the kit let checks be chosen")
    image = padded(case.folder / case.manifest.image, cache / "images")
    return Prepared(case=case, image=image, sha256=sha256(image))


def _selected(whole: Prepared, patterns: Sequence[str]) -> Prepared:
    """The same case with only the checks that one of the patterns names switched on in its image."""
    wanted = [
        number
        for number, about in zip(whole.numbers, whole.abouts, strict=True)
        if any(_names(pattern, about.check) for pattern in patterns)
    ]
    if not wanted:
        known = ", ".join(about.check for about in whole.abouts)
        raise CaseError(f"{whole.case.name} has no check called {' or '.join(patterns)}", hint=f"checks: {known}")
    image, digest = selection(whole.image, wanted)
    abouts = tuple(whole.abouts[number] for number in wanted)
    return Prepared(case=whole.case, image=image, sha256=digest, abouts=abouts, numbers=tuple(wanted))


def _names(pattern: str, check: str) -> bool:
    """Whether a pattern names a check, or the group of checks that share its id up to a slash ("P-09" names "P-09/wp")."""
    return fnmatch.fnmatchcase(check, pattern) or fnmatch.fnmatchcase(check.partition("/")[0], pattern)


def padded(source: Path, folder: Path) -> Path:
    """A copy of a raw image in `folder`, named after its content, zeros added up to a whole cylinder."""
    try:
        size = source.stat().st_size
        with source.open("rb") as file:
            first = file.read(512)
    except OSError as error:
        raise CaseError(f"{source}: {error.strerror}") from error
    if not 0 < size <= LARGEST:
        raise CaseError(f"{source}: {size} bytes is no disk image")
    if first[510:512] != b"\x55\xaa":
        raise CaseError(
            f"{source}: no boot signature (55 AA at the end of the first sector)", hint="only raw BIOS disk images boot"
        )
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".image-")
    os.close(handle)
    temporary = Path(name)
    try:
        shutil.copyfile(source, temporary)
        os.truncate(temporary, whole_cylinders(size))
        final = folder / f"{sha256(temporary)}.img"
        temporary.replace(final)
    except OSError as error:
        raise CaseError(f"cannot copy {source}: {error.strerror}", hint=f"is there room in {folder}?") from error
    finally:
        temporary.unlink(missing_ok=True)
    return final
