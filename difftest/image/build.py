"""Builds a case's sources with the kit in cases/lib into a bootable raw image. gcc and binutils are all it takes.

Same sources, same compiler: same bytes, in a folder named after the hash of all that went in.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from difftest.atomic import UnfitError, contents
from difftest.case.manifest import About
from difftest.errors import HOST_ERRORS, BuildError, HostError, refusal
from difftest.image.parameter_block import MAGIC
from emulators.host.answers import Answer, cached_answer
from emulators.host.cache import Cache
from emulators.host.disk import whole_cylinders
from emulators.host.errors import EmulatorError, Progress, silent
from emulators.host.files import cache_folder
from emulators.host.tools import ran

KIT = Path(__file__).resolve().parent.parent.parent / "cases" / "lib"
ABOUT_SECTION = ".difftest.checks"
# What the compiler says when it is this machine that has no room or no memory for it.
REFUSED = (*map(os.strerror, HOST_ERRORS), "Killed signal")
LARGEST_SOURCE = 16 << 20  # bytes of a source or header
MOST_BYTES = 1 << 30  # of all images; the longest unused go first
CHECK_ID = re.compile(r"[\w.:/+-]{1,120}", re.ASCII)
FLAGS = [
    *["-m32", "-march=i586", "-std=gnu11", "-Os", "-ffreestanding", "-nostdlib", "-fno-pic", "-fno-pie"],
    *["-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-mno-sse", "-mno-mmx"],
    # What no check uses stays out of the image: to read a sector costs KVM under emulation a quarter of a million
    # instructions.
    *["-ffunction-sections", "-fdata-sections"],
    # The order of checks in the image is the order in the source.
    *["-fno-toplevel-reorder", "-Wall", "-Wextra", "-Werror"],
]


class BuiltImage(msgspec.Struct, frozen=True):
    """A bootable image. `checks` are in the order of the selection's bits."""

    image: Path
    sha256: str
    checks: tuple[About, ...]


class _BuildRecord(msgspec.Struct, frozen=True):
    """built.json, beside the image."""

    sha256: str
    checks: tuple[About, ...]


def built_cases(cache: Path) -> Cache:
    """The images that were built, each with what it says of its checks."""
    return Cache(cache, MOST_BYTES)


def build_case(name: str, folder: Path, sources: Sequence[str], cache: Path, say: Progress = silent) -> BuiltImage:
    """Build `folder`'s sources (names in it) with the kit, once; then answer from `cache`.

    Raises BuildError, HostError.
    """

    def make(out: Path) -> None:
        try:
            _build(name, folder, sources, out)
        except OSError as error:
            hint = "is there room, and may you write there? XDG_CACHE_HOME chooses another place"
            raise refusal(
                error, f"cannot build in {cache}: {error.strerror}", hint=hint, otherwise=BuildError
            ) from error

    done = built_cases(cache).hold(_key(name, folder, sources), make, say)
    try:
        record = msgspec.json.decode((done / "built.json").read_bytes(), type=_BuildRecord)
    except (OSError, msgspec.DecodeError) as error:
        raise HostError(f"what was built in {done} cannot be read back", hint="is the disk full?") from error
    return BuiltImage(image=done / "disk.img", sha256=record.sha256, checks=record.checks)


def _key(name: str, folder: Path, sources: Sequence[str]) -> str:
    """A hash of all that goes into the image."""
    inputs = [
        *sorted(KIT.glob("*.[cSh]")),
        KIT / "kit.ld",
        *(folder / source for source in sources),
        *sorted(folder.glob("*.h")),
    ]
    digest = hashlib.sha256("\n".join([name, *_versions(), *FLAGS, *sources]).encode())
    for path in inputs:
        try:
            data = contents(path, LARGEST_SOURCE)
        except (OSError, UnfitError) as error:
            words = error.strerror if isinstance(error, OSError) else error
            hint = "is the file named in case.toml's sources?"
            raise refusal(error, f"{path}: {words}", hint=hint, otherwise=BuildError) from error
        digest.update(b"\0".join([b"", path.name.encode(), hashlib.sha256(data).digest()]))
    return digest.hexdigest()[:32]


def _build(name: str, folder: Path, sources: Sequence[str], out: Path) -> None:
    """Leave disk.img, case.elf (for a debugger) and built.json in `out`."""
    paths = [*sorted(KIT.glob("*.S")), *sorted(KIT.glob("*.c")), *(folder / source for source in sources)]
    objects = [out / f"{number}-{path.name}.o" for number, path in enumerate(paths)]

    def compile_one(path: Path, target: Path) -> None:
        # Compiled in its own folder, by its bare name: no path of this machine gets into the image.
        _tool(["gcc", *FLAGS, f'-DCASE_NAME="{name}"', f"-I{KIT}", "-c", path.name, "-o", str(target)], path.parent)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, paths, objects))
    inputs = [path.name for path in objects]
    _tool(
        [
            "ld",
            "-m",
            "elf_i386",
            "--build-id=none",
            "--gc-sections",
            "-T",
            str(KIT / "kit.ld"),
            "-o",
            "case.elf",
            *inputs,
        ],
        out,
    )
    _tool(["objcopy", "-O", "binary", "-R", ABOUT_SECTION, "case.elf", "disk.img"], out)
    checks = _checks(folder, out)
    for path in objects:
        path.unlink()
    image = (out / "disk.img").read_bytes()
    if image.count(MAGIC) != 1:
        raise BuildError(
            f"{folder}: the words {MAGIC[:-1].decode()} are in the image twice", hint="the kit alone may use them"
        )
    os.truncate(out / "disk.img", whole_cylinders(len(image)))
    digest = hashlib.sha256((out / "disk.img").read_bytes()).hexdigest()
    (out / "built.json").write_bytes(msgspec.json.encode(_BuildRecord(sha256=digest, checks=checks)))


def _checks(folder: Path, out: Path) -> tuple[About, ...]:
    """What the CHECKs say of themselves, from a section that the compiler pads with zeros at will."""
    if ABOUT_SECTION not in _tool(["objdump", "-h", "case.elf"], out):
        raise BuildError(f"{folder}: no CHECK in its sources", hint="see cases/README.md for how a check is written")
    _tool(["objcopy", "-O", "binary", "--dump-section", f"{ABOUT_SECTION}=abouts", "case.elf", "discarded"], out)
    lines = (out / "abouts").read_bytes().replace(b"\0", b"").decode().removesuffix("\n").split("\n")
    for name in ("abouts", "discarded"):
        (out / name).unlink()
    checks = tuple(
        About(check=check, sdm=sdm, summary=summary) for check, sdm, summary in (line.split("\x1f") for line in lines)
    )
    names = [about.check for about in checks]
    for check in names:
        if not CHECK_ID.fullmatch(check) or names.count(check) > 1:
            raise BuildError(
                f"{folder}: the check id {check!r} is malformed, or used twice",
                hint="letters, digits and . : / + - only",
            )
    return checks


def _tool(argv: list[str], folder: Path) -> str:
    """Run one of the compiler's programs in `folder`; its output. Raises BuildError with what it said."""
    if shutil.which(argv[0]) is None:
        raise HostError(f"{argv[0]} is missing", hint="apt-get install gcc binutils")
    try:
        done = ran(argv, environment={"LC_ALL": "C"}, folder=folder)
    except EmulatorError as error:
        raise HostError(f"{error} in {folder}", hint="is this machine overloaded?") from error
    said = done.stderr[:4000].decode(errors="replace")
    if done.returncode < 0 or any(words in said for words in REFUSED):
        raise HostError(f"{argv[0]} did not get through in {folder}:\n{said}", hint="is there room left?")
    if done.returncode:
        raise BuildError(f"{argv[0]} failed in {folder}:\n{said}", hint="mend the source and run again")
    return done.stdout.decode(errors="replace")


@functools.cache
def _versions() -> tuple[str, str]:
    """The first lines of what the compiler and the linker say of themselves."""
    gcc, ld = (_version(tool) for tool in ("gcc", "ld"))
    return gcc, ld


def _version(tool: str) -> str:
    """The first line of what a program says of its version; asked again when the program has changed."""
    program = shutil.which(tool)

    def ask() -> Answer:
        said = _tool([tool, "--version"], Path("/")).partition("\n")[0]
        return Answer(said, [Path(program)] if program else [])

    return cached_answer(cache_folder(), f"{program}\0--version", ask)
