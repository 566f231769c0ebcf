"""Cases: folders with a `case.toml`, or any raw image that a user names. Loads and checks manifests; builds nothing."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from difftest.result import Known
from emulators.observation import Limits, Machine

MANIFEST = "case.toml"
BUNDLED = Path(__file__).resolve().parent.parent / "cases"
LARGEST_MANIFEST = 1 << 20
NAME = r"[a-z0-9][\w.-]{0,80}"  # of a case
KIT_MIB = 8  # where the kit has its data and its RAM log: see kit.ld


class CaseError(Exception):
    """A case that cannot be used; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Absent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the catalogue that belongs to this case but is no check of it, and why."""

    id: str
    reason: str


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What running or reading showed about a row of the catalogue: a suspicion's end, or how well its SDM wording is known."""

    id: str
    text: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `case.toml` may say. See docs/case.md for each key."""

    name: str
    title: str = ""
    description: str = ""
    groups: list[str] = []
    sources: list[str] = []  # C and assembly, built with the kit; or
    image: str = ""  # a disk, a CD or a multiboot kernel, beside the manifest
    medium: Literal["", "disk", "cdrom"] = ""  # what the image is, where it could be either
    command_line: str = ""  # of a multiboot kernel, without its name
    modules: list[str] = []  # of a multiboot kernel: files beside the manifest, each with the words behind its name
    second_image: str = ""  # a second disk
    needs: list[str] = []  # capabilities, as a target names them
    memory_mib: int = 256
    cpus: int = 1
    cpu_models: dict[str, str] = {}
    ignore_msrs: bool = False  # MSRs that the CPU lacks read as zero under KVM, as they do under Bochs
    end: str = ""  # regular expression of the terminal marker on COM1 or port 0xE9
    end_screen: str = ""  # regular expression: what a silent image shows when it has come to its end, such as a prompt
    right: str = ""  # regular expression: a terminal line, or one of rows 20 to 23, that shows what the SDM requires
    wrong: str = ""  # regular expression: the same for one that shows that it was broken
    volatile: list[str] = []  # regular expressions of what varies from boot to boot in names of results and in lines
    quiet_seconds: float = 20.0
    total_seconds: float = 120.0
    known: list[Known] = []
    absent: list[Absent] = []
    note: list[Note] = []


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest and where it lies. `text` is the manifest as it stands in the file ("" for an image without one)."""

    manifest: Manifest
    folder: Path
    text: str = ""

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
        )

    def limits(self, total: float | None) -> Limits:
        """The deadlines; `total` seconds from the command line stand above the manifest's."""
        manifest = self.manifest
        if total is None:
            return Limits(quiet=manifest.quiet_seconds, total=manifest.total_seconds)
        return Limits(quiet=min(manifest.quiet_seconds, total), total=total)


def load(folder: Path) -> Case:
    """Read a case folder's manifest. Raises CaseError with the file and what is wrong in it."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        if len(data) > LARGEST_MANIFEST:
            raise CaseError(f"{path}: larger than {LARGEST_MANIFEST} bytes")
        text = data.decode()
        manifest = msgspec.toml.decode(text, type=Manifest)
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}", hint="a case is a folder with a case.toml") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: {error}", hint="see docs/case.md for the keys of a manifest") from error
    _check(manifest, folder, path)
    return Case(manifest=manifest, folder=folder, text=text)


def of_image(image: Path) -> Case:
    """A case of an image without a manifest: no marker is known, its free text is compared."""
    if not image.is_file():
        raise CaseError(f"{image}: no such image")
    name = re.sub(r"[^\w.-]+", "-", image.name).strip(".-") or "image"
    return Case(manifest=Manifest(name=name, title=f"image {image.name}", image=image.name), folder=image.absolute().parent)


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


def _check(manifest: Manifest, folder: Path, path: Path) -> None:
    """What the types cannot say. Raises CaseError."""
    if not re.fullmatch(NAME, manifest.name):
        raise CaseError(f"{path}: name {manifest.name!r} is not lower-case letters, digits, dots and dashes")
    if bool(manifest.sources) == bool(manifest.image):
        raise CaseError(f"{path}: give either sources or image")
    if manifest.sources and (manifest.command_line or manifest.modules or manifest.medium):
        raise CaseError(f"{path}: medium, command_line and modules are an image's, not that of sources")
    files = [*manifest.sources, manifest.image, manifest.second_image, *(one.partition(" ")[0] for one in manifest.modules)]
    for name in files:
        if name and not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise CaseError(f"{path}: {name} leads out of the case's folder")
    expressions = [(key, getattr(manifest, key)) for key in ("end", "end_screen", "right", "wrong")]
    for key, expression in [*expressions, *(("volatile", one) for one in manifest.volatile)]:
        try:
            re.compile(expression)
            re.compile(expression.encode())
        except re.error as error:
            raise CaseError(f"{path}: {key}: {error}") from error
    for model in manifest.cpu_models.values():
        if not re.fullmatch(r"[\w.,+=-]{1,200}", model, re.ASCII):
            raise CaseError(f"{path}: {model!r} is no CPU model")
    if not 1 <= manifest.memory_mib <= 2048 or not 1 <= manifest.cpus <= 8:
        raise CaseError(f"{path}: memory_mib must be 1 to 2048 and cpus 1 to 8")
    if manifest.sources and manifest.memory_mib < KIT_MIB:
        raise CaseError(f"{path}: images of the kit take {KIT_MIB} MiB, memory_mib is {manifest.memory_mib}")
    if min(manifest.quiet_seconds, manifest.total_seconds) <= 0:
        raise CaseError(f"{path}: quiet_seconds and total_seconds must be above 0")
