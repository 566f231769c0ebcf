"""From a case to the bytes that every target boots: built from sources, or taken from a file, unpacked, padded and
hashed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence, Set
from pathlib import Path
from typing import NamedTuple

import msgspec

from difftest.case.case import Case
from difftest.case.manifest import About
from difftest.case.selection import checks_named, matches
from difftest.case.suite import is_suite
from difftest.errors import BuildError, CaseError, HostError, refusal
from difftest.image.build import build_case
from difftest.image.disk import padded_bytes
from difftest.image.grub import GRUB, wrapped
from difftest.image.kind import KERNELS, PACKED, Kind, Look, look
from difftest.image.parameter_block import select_checks, selection, with_ram_log
from difftest.image.unpack import unpack
from emulators.host.cache import Cache
from emulators.host.errors import EmulatorError, silent
from emulators.host.files import private_copy, sha256
from emulators.host.scratch import scratch
from emulators.observation import Boot, Limits, Medium
from emulators.ram_log import RamLog

MOST_BYTES = 4 << 30  # of all images; the longest unused go first
IMAGE = "disk.img"  # in its entry
MEDIA = {Kind.CDROM: Medium.CDROM, Kind.FLOPPY: Medium.FLOPPY}  # of the kinds that are no hard disk in the end


class PreparedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case with its image at hand: built or copied, hashed, padded to what every target can boot."""

    case: Case
    image: Path
    sha256: str
    medium: Medium = Medium.DISK
    remarks: tuple[str, ...] = ()  # on the image's kind, in sentences
    second: Path | None = None  # the second disk
    second_sha256: str = ""
    ram_log: RamLog | None = None  # where the image leaves its lines
    abouts: tuple[About, ...] = ()  # the checks that are switched on
    numbers: tuple[int, ...] = ()  # their numbers in the image's parameter block
    checks: int = 0  # how many the image has
    emulated_cpu: str = ""  # the CPU model of Bochs that these checks need; "" where any will do

    limits: Limits

    @property
    def whole(self) -> bool:
        """Whether all checks of the image are switched on."""
        return len(self.numbers) == self.checks

    def split(self) -> list[PreparedCase]:
        """The case by the emulated CPUs that its checks need, those that any CPU will do for first."""
        groups: dict[str, set[str]] = {"": set()}
        for about in self.abouts:
            models = (
                machine.emulated_cpu
                for machine in self.case.manifest.machine
                if any(pattern == about.check or matches(pattern, about.check) for pattern in machine.checks)
            )
            groups.setdefault(next(models, ""), set()).add(about.check)
        found = [(model, checks) for model, checks in groups.items() if checks] or [("", set())]
        if len(found) == 1:
            return [msgspec.structs.replace(self, emulated_cpu=found[0][0])]
        return [msgspec.structs.replace(_selected(self, checks), emulated_cpu=model) for model, checks in found]

    def boot(self) -> Boot:
        case = self.case
        return Boot(
            image=self.image,
            image_sha256=self.sha256,
            medium=self.medium,
            second=self.second,
            second_sha256=self.second_sha256,
            machine=case.machine(),
            limits=self.limits,
            ram_log=self.ram_log,
            end=case.manifest.end,
            end_screen=case.manifest.end_screen,
        )

    def only(self, indices: Sequence[int], *, in_ram: bool = True) -> Boot:
        """The same boot with only some of `abouts` switched on, by their place in it. Without `in_ram` the image sends
        its lines to COM1 instead of leaving them in its RAM.
        """
        image, digest = selection(self.image, [self.numbers[index] for index in indices], in_ram=in_ram)
        log = self.ram_log if in_ram else None
        return msgspec.structs.replace(self.boot(), image=image, image_sha256=digest, ram_log=log)


class Bootable(NamedTuple):
    """An image in the cache, named after its content."""

    path: Path
    sha256: str
    medium: Medium
    look: Look


def prepare(case: Case, cache: Path, total: float | None = None) -> PreparedCase:
    """Build or copy the case's image into `cache`, with all its checks, to be booted for `total` seconds at most where
    that is given.

    Raises CaseError and HostError with what to do.
    """
    if case.manifest.sources:
        try:
            built = build_case(case.name, case.folder, case.manifest.sources, cache / "built")
            path, digest, log = with_ram_log(built.image)
        except BuildError as error:
            raise CaseError(f"{case.name}: {error}", hint=error.hint) from error
        whole = PreparedCase(
            case=case,
            image=path,
            sha256=digest,
            ram_log=log,
            abouts=built.checks,
            numbers=tuple(range(len(built.checks))),
            checks=len(built.checks),
            limits=case.limits(total),
        )
        return _with_second(whole, cache)
    manifest = case.manifest
    if manifest.skipped:
        file = case.folder / manifest.image
        return PreparedCase(case=case, image=file, sha256=sha256(file), limits=case.limits(total))
    image = bootable(
        case.folder / manifest.image, cache / "images", manifest.medium, manifest.command_line, modules_of(case)
    )
    if manifest.parameters:
        return _with_second(_with_parameters(case, image, case.limits(total)), cache)
    prepared = PreparedCase(
        case=case,
        image=image.path,
        sha256=image.sha256,
        medium=image.medium,
        remarks=tuple(image.look.sentences),
        limits=case.limits(total),
    )
    return _with_second(prepared, cache)


def _with_parameters(case: Case, image: Bootable, limits: Limits) -> PreparedCase:
    """An image that leaves its lines in RAM, and that lets its tests be chosen. Raises CaseError."""
    tests = case.manifest.tests
    try:
        path, digest, log = with_ram_log(image.path)
        select_checks(path.read_bytes(), tests.values())
    except BuildError as error:
        raise CaseError(
            f"{case.name}: {error}", hint="parameters = true is for images with a parameter block"
        ) from error
    return PreparedCase(
        case=case,
        image=path,
        sha256=digest,
        ram_log=log,
        abouts=tuple(About(check=name) for name in tests),
        numbers=tuple(tests.values()),
        checks=len(tests),
        limits=limits,
    )


def with_checks(cases: Sequence[PreparedCase], patterns: Sequence[str]) -> list[PreparedCase]:
    """The cases that have a check that one of the patterns names (see `checks_named`), with only those switched on.
    Cases of a suite are named by their own names, too, and then as a whole.

    Raises CaseError when a pattern names none in any of them.
    """
    suites = [one.case.name for one in cases if is_suite(one.case.folder.absolute().parent)]
    ids = [*suites, *dict.fromkeys(about.check for prepared in cases for about in prepared.abouts)]
    if not ids:
        names = ", ".join(prepared.case.name for prepared in cases)
        raise CaseError(f"{names}: only cases built with the kit let checks be chosen", hint="leave out --check")
    wanted = checks_named(patterns, ids)
    return [
        one if one.case.name in suites and one.case.name in wanted else _selected(one, wanted)
        for one in cases
        if one.case.name in wanted & set(suites) or any(about.check in wanted for about in one.abouts)
    ]


def _with_second(prepared: PreparedCase, cache: Path) -> PreparedCase:
    """The same with the case's second disk, if it has one."""
    name = prepared.case.manifest.second_image
    if not name:
        return prepared
    second = bootable(prepared.case.folder / name, cache / "images", "data")
    return msgspec.structs.replace(prepared, second=second.path, second_sha256=second.sha256)


def _selected(whole: PreparedCase, wanted: Set[str]) -> PreparedCase:
    """The same case with only the wanted checks switched on in its image."""
    places = [place for place, about in enumerate(whole.abouts) if about.check in wanted]
    numbers = tuple(whole.numbers[place] for place in places)
    image, digest = selection(whole.image, numbers)
    abouts = tuple(whole.abouts[place] for place in places)
    return msgspec.structs.replace(whole, image=image, sha256=digest, abouts=abouts, numbers=numbers)


def modules_of(case: Case) -> list[tuple[Path, str]]:
    """A kernel's modules: files, and the words after their names."""
    parts = [module.partition(" ") for module in case.manifest.modules]
    return [(case.folder / name, words) for name, _, words in parts]


def images(folder: Path) -> Cache:
    """What is booted of files that were not built here."""
    return Cache(folder, MOST_BYTES)


def bootable(
    source: Path, folder: Path, medium: str = "", command_line: str = "", modules: Sequence[tuple[Path, str]] = ()
) -> Bootable:
    """What targets boot of a file of any kind, in `folder`: unpacked, wrapped, zeros added up to what all disks can
    have.

    `medium` is as for `look`. Raises CaseError; nothing is left then.
    """
    try:
        with scratch("image", folder if os.access(folder, os.W_OK) else None) as temporary:
            raw, seen = unpacked(source, temporary / "raw", medium)
            if seen.kind not in KERNELS and (command_line or modules):
                raise CaseError(f"{source}: only a kernel takes a command line and modules")

            def make(entry: Path) -> None:
                if seen.kind in KERNELS:
                    wrapped(raw, seen.kind == Kind.LINUX, command_line, modules, entry / IMAGE)
                else:
                    private_copy(raw, entry / IMAGE)
                os.truncate(entry / IMAGE, padded_bytes(entry / IMAGE, seen.kind))

            image = images(folder).hold(_key(raw, seen.kind, command_line, modules), make, silent) / IMAGE
            digest = sha256(image)
    except OSError as error:
        message, hint = f"cannot copy {source}: {error.strerror}", f"is there room in {folder}?"
        raise refusal(error, message, hint=hint, otherwise=CaseError) from error
    except EmulatorError as error:
        said = error.evidence.strip() or error
        raise HostError(f"cannot copy {source}: {said}", hint=error.hint or f"is there room in {folder}?") from error
    return Bootable(image, digest, MEDIA.get(seen.kind, Medium.DISK), seen)


def _key(raw: Path, kind: Kind, command_line: str, modules: Sequence[tuple[Path, str]]) -> str:
    """A hash of all that goes into what is booted of a file. Raises OSError."""
    digest = hashlib.sha256(f"4\0{kind}\0{sha256(raw)}".encode())
    if kind in KERNELS:
        digest.update(f"\0{raw.name}\0{command_line}".encode())
        for path, words in [*modules, *((GRUB / name, "") for name in ("boot.img", "kernel.img"))]:
            if path.is_file():
                digest.update(f"\0{path.name}\0{words}\0{sha256(path)}".encode())
    return digest.hexdigest()[:32]


def unpacked(source: Path, target: Path, medium: str = "") -> tuple[Path, Look]:
    """A file that holds the image itself, `source` or what was unpacked of it to `target`, and what it is."""
    path = source
    for layer in range(3):  # a compressed VMDK is known to happen; more layers are not
        try:
            seen = look(path, medium)
            if seen.kind not in PACKED:
                return path, seen
            fresh = target.with_name(f"{target.name}{layer}")
            unpack(path, seen.kind, fresh)
        except CaseError as error:
            raise CaseError(str(error).replace(str(path), str(source)), hint=error.hint) from error
        path = fresh
    raise CaseError(f"{source}: packed more than twice")
