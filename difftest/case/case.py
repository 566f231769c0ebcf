"""Cases: folders with a `case.toml`, or any raw image that a user names. Loads and checks manifests; builds nothing."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from difftest.atomic import UnfitError, contents
from difftest.case.image_options import PATIENT_QUIET, PATIENT_TOTAL, ImageOptions
from difftest.case.manifest import Manifest, as_toml, check, check_expressions
from difftest.case.suite import is_suite, known_of, text_with_known
from difftest.errors import CaseError, refusal
from difftest.text import visible
from difftest.verdict import FORMER_SHARED
from emulators.observation import Limits, Machine

MANIFEST = "case.toml"
BUNDLED = Path(__file__).resolve().parent.parent.parent / "cases"
LARGEST_MANIFEST = 1 << 20


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest and where it lies. `text` is the manifest as in the file, with what its suite knows of it; "" for
    an image without one, with the user's `options`.
    """

    manifest: Manifest
    folder: Path
    text: str = ""
    options: ImageOptions = ImageOptions()

    @property
    def name(self) -> str:
        return self.manifest.name

    def machine(self) -> Machine:
        manifest = self.manifest
        return Machine(
            memory_mib=manifest.memory_mib,
            cpus=manifest.cpus,
            cpu_models=manifest.cpu_models,
            ignore_msrs=manifest.ignore_msrs,
            faulting_msrs=manifest.faulting_msrs,
        )

    def limits(self, total: float | None) -> Limits:
        """The deadlines; `total` seconds from the command line override the manifest's."""
        manifest = self.manifest
        if total is None:
            return Limits(quiet=manifest.quiet_seconds, total=manifest.total_seconds)
        return Limits(quiet=min(manifest.quiet_seconds, total), total=total)


def load(folder: Path) -> Case:
    """Read a case folder's manifest. Raises CaseError with the file and what is wrong in it."""
    path = folder / MANIFEST
    try:
        text = contents(path, LARGEST_MANIFEST).decode()
        manifest = msgspec.toml.decode(text, type=Manifest)
        if FORMER_SHARED in text:
            _no_former_words(text, manifest, path)
    except OSError as error:
        hint = "a case is a folder with a case.toml"
        raise refusal(error, f"{path}: {error.strerror}", hint=hint, otherwise=CaseError) from error
    except (msgspec.DecodeError, UnicodeDecodeError, UnfitError, RecursionError) as error:
        words = visible(str(error), 300)
        raise CaseError(f"{path}: {words}", hint="see docs/case.md for the keys of a manifest") from error
    check(manifest, folder, path)
    if is_suite(folder.absolute().parent):
        known = [one for one in known_of(folder.absolute().parent) if one.case == manifest.name]
        whole = msgspec.structs.replace(manifest, known=[*manifest.known, *known])
        return Case(manifest=whole, folder=folder, text=text_with_known(text, known, manifest.name))
    return Case(manifest=manifest, folder=folder, text=text)


def of_image(image: Path, options: ImageOptions | None = None) -> Case:
    """A case of an image without a manifest: no marker is known, its free text is compared. Raises CaseError."""
    if not image.is_file():
        raise CaseError(f"{image}: no such image")
    name = re.sub(r"[^\w.-]+", "-", image.name).strip(".-") or "image"
    options = options or ImageOptions()
    plain = Manifest(name=name)
    manifest = Manifest(
        name=name,
        title=f"image {image.name}",
        image=image.name,
        medium=options.medium.value if options.medium else "",
        command_line=options.command_line,
        modules=[str(Path.cwd() / module) for module in options.modules],
        second_image=str(options.second.absolute()) if options.second else "",
        memory_mib=options.memory_mib or plain.memory_mib,
        cpus=options.cpus or plain.cpus,
        end=options.end,
        end_screen=options.end_screen,
        volatile=list(options.volatile),
        quiet_seconds=PATIENT_QUIET if options.end_screen else plain.quiet_seconds,
        total_seconds=PATIENT_TOTAL if options.end_screen else plain.total_seconds,
    )
    check_expressions(manifest, str(image))
    return Case(manifest=manifest, folder=image.absolute().parent, options=options)


def _no_former_words(text: str, manifest: Manifest, path: Path) -> None:
    """Raises CaseError for a `[[known]]` entry with a verdict that is no more, with the entry that says it today."""
    raw = msgspec.toml.decode(text).get("known", [])
    for known, entry in zip(manifest.known, raw, strict=True):
        if entry.get("verdict") == FORMER_SHARED:
            what = ", ".join(known.checks)
            raise CaseError(
                f"{path}: the [[known]] entry of {what} has the verdict {FORMER_SHARED!r}, which is called "
                f"{known.verdict!r} now",
                hint=f"it needs what it covers, too (match, pattern or died), for example:\n{as_toml(known)}",
            )
