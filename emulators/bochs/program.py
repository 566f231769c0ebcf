"""The Bochs that is started: the distribution's, another version out of the mirror's suites, or one that the user
built.

A fetched one brings all its libraries and is started through their own loader: another suite's libc does not mix with
the host's. Nothing is installed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import msgspec

from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.apt import Package
from emulators.host.cache import Cache
from emulators.host.debian import package_version, unpack
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import cache_folder, sha256_cached, writing_below
from emulators.host.mirror import CACHED, Mirror, by_version, is_version, latest
from emulators.host.tools import ran

SHARE = Path("/usr/share/bochs")
BIOS, VGA_BIOS = "BIOS-bochs-latest", "VGABIOS-lgpl-latest"
PACKAGES = ("bochs", "bochs-x", "bochsbios")
SDL_PLUGIN = "bochs-sdl"
LOADER = "bochs-ld.so"  # a process is called after the file it was started from
BANNER = re.compile(r"Bochs x86 Emulator (\d\S*)")
# Hosts KVM nearly twice as fast as 2.7. On 3.1 Linux 6.1 does not come up.
QUICKEST = "3.0"
MOST_BYTES = 1 << 30  # of all versions, some 100 MB each; the longest unused go first
RETRY_SECONDS = 24 * 3600.0  # until a mirror that did not have it is asked again


class BochsProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A Bochs that can be started."""

    version: str  # of the package, or what a program of the user's says of itself
    argv: tuple[str, ...]
    bios: Path
    vga_bios: Path
    environment: dict[str, str] = {}
    unseen: str = "x"  # display library of a machine that nobody looks at
    # What starts its debugger: nothing where it is always on (2.x), an option (3.x), None where it was built without.
    debugger: tuple[str, ...] | None = ()
    warns: bool = (
        False  # logs warnings as a kind of their own (from 3.1 on), which ask in a dialog unless configured otherwise
    )

    @property
    def saves_state(self) -> bool:
        """Whether a machine that it saved comes back with KVM inside: 2.7's did not."""
        return self.version.startswith("3.")

    def identity(self) -> dict[str, str]:
        """Version and firmware hashes."""
        hashes = {"bios sha256": self.bios, "vga bios sha256": self.vga_bios}
        return {
            "bochs": self.version,
            **{key: sha256_cached(path) if path.exists() else "" for key, path in hashes.items()},
        }


@functools.cache
def installed() -> BochsProgram:
    """The distribution's. It may be missing: see `Emulator.requirements()`."""
    argv = ("bochs-bin",)
    return BochsProgram(
        version=package_version("bochs"),
        argv=argv,
        **_features(_help(argv, shutil.which(argv[0])) if shutil.which(argv[0]) else ""),
        bios=SHARE / BIOS,
        vga_bios=SHARE / VGA_BIOS,
        # SDL's dummy driver costs no X server, and unlike the X display it does not sleep whenever the guest is idle.
        unseen="sdl2",
    )


def program(wanted: str | None, cache: Path, say: Progress) -> BochsProgram:
    """The Bochs that `wanted` names: None for the distribution's, a version or its beginning ("3.0"), or a program's
    path.

    Raises EmulatorError: no such version (and which there are), the download failed, the program does not run.
    """
    if wanted is None:
        return installed()
    if "/" in wanted:
        return _of_path(Path(wanted).absolute())
    if is_version(installed().version, wanted):
        return installed()
    mirror = Mirror(cache, say)
    return _held(mirror, latest(mirror, available, wanted, f"no Bochs {wanted}", cached(cache)), cache, say)


def quickest(cache: Path, say: Progress) -> BochsProgram:
    """The Bochs that hosts KVM best: QUICKEST out of the cache or the mirror, else the distribution's."""
    for package in reversed(by_version(cached(cache))):
        if is_version(package.version, QUICKEST):
            with contextlib.suppress(EmulatorError):  # damaged, and cannot be fetched again
                return _held(Mirror(cache, say), package, cache, say)
    tried = cache / "bochs" / "no-quickest"
    if not tried.exists() or time.time() - tried.stat().st_mtime > RETRY_SECONDS:
        try:
            return program(QUICKEST, cache, say)
        except EmulatorError:
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.touch()
    return installed()


def fetched(cache: Path) -> Cache:
    """The versions of Bochs that were fetched, each a folder."""
    return Cache(cache / "bochs", MOST_BYTES)


def _held(mirror: Mirror, package: Package, cache: Path, say: Progress) -> BochsProgram:
    """A version that is, or comes, into the cache, where it stays while this process lives. Raises EmulatorError."""

    def make(folder: Path) -> None:
        there = package
        if package.suite == CACHED:  # damaged: whatever suite has it now
            there = latest(mirror, available, package.version, f"no Bochs {package.version}", ())
        _fetch(mirror, there, folder, say)

    return _fetched(fetched(cache).hold(package.version.replace(":", "%3a"), make, say), package.version)


def available(mirror: Mirror) -> list[Package]:
    """Bochs in all suites, the oldest first. Raises EmulatorError."""
    return mirror.packages("bochs")


def cached(cache: Path) -> list[Package]:
    """The versions of Bochs that are in the cache."""
    folders = (cache / "bochs").glob("[0-9]*")
    return [Package(name="bochs", version=path.name.replace("%3a", ":"), suite=CACHED) for path in folders]


def _fetched(folder: Path, version: str) -> BochsProgram:
    """The program in a folder that `_fetch` made."""
    libraries, plugins = [folder / "lib"], folder / "plugins"
    sdl = next(Path("/usr/lib").glob("*/libSDL2-2.0.so.0"), None)
    unseen = "x"
    if sdl is not None and (plugins / "libbx_sdl2_gui.so").exists():
        # SDL is the host's, with what it needs: an older library runs on the libc that was fetched.
        libraries.append(sdl.parent)
        unseen = "sdl2"
    argv = (str(folder / LOADER), "--library-path", ":".join(map(str, libraries)), str(folder / "bochs-bin"))
    environment = {"LTDL_LIBRARY_PATH": str(plugins), "BXSHARE": str(folder / "share")}
    return BochsProgram(
        version=version,
        argv=argv,
        environment=environment,
        **_features(_help(argv, argv[0], argv[-1], environment=environment)),
        bios=folder / "share" / BIOS,
        vga_bios=SHARE / VGA_BIOS,  # theirs is a link into a package of its own, which this host has
        unseen=unseen,
    )


def _fetch(mirror: Mirror, package: Package, files: Path, say: Progress) -> None:
    """Download and unpack, and keep in the empty folder `kept` what the loader says is needed."""
    say(f"downloading Bochs {package.version} from {package.suite} with its libraries (some 50 MB)")
    with writing_below(files.parent, f"Bochs {package.version}"):
        debs, tree = (files / part for part in ("debs", "tree"))
        debs.mkdir()
        for deb in mirror.suite(package.suite).download_with_all_they_need(PACKAGES, debs):
            unpack(deb, tree)
            deb.unlink()
        # The plugin alone: SDL itself is taken from this host, see `_fetched`.
        for deb in mirror.suite(package.suite).download([f"{SDL_PLUGIN}={package.version}"], debs):
            unpack(deb, tree)
        _keep(tree, files)
        shutil.rmtree(debs)
        shutil.rmtree(tree)


def _keep(tree: Path, files: Path) -> None:
    program, plugins = tree / "usr/bin/bochs-bin", next(tree.glob("usr/lib/*/bochs/plugins"), None)
    loader = next((path for path in tree.glob("**/ld-linux-x86-64.so.2") if path.exists()), None)
    if not program.exists() or plugins is None or loader is None:
        raise EmulatorError("the packages hold no Bochs of the shape that is known here")
    libraries = ":".join(str(path) for path in (*tree.glob("usr/lib/*-linux-gnu"), *tree.glob("lib/*-linux-gnu")))
    (files / "lib").mkdir(parents=True)
    for file in (program, plugins / "libbx_x_gui.so"):
        said = _output([str(loader.resolve()), "--library-path", libraries, "--list", str(file)])
        if missing := re.findall(r"(\S+) => not found", said):
            raise EmulatorError(f"Bochs needs {', '.join(missing)}, which its packages do not bring")
        for library in re.findall(rf"=> ({re.escape(str(tree))}\S+) ", said):
            shutil.copy(library, files / "lib" / Path(library).name)
    shutil.copy(loader.resolve(), files / LOADER)
    shutil.copy(program, files)
    shutil.copytree(plugins, files / "plugins")
    shutil.copytree(tree / "usr/share/bochs", files / "share", symlinks=True)


def _of_path(path: Path) -> BochsProgram:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ChoiceError(f"{path}: no program", hint="--bochs takes a version, or the path of a bochs program")
    said = _output([str(path), "--help"])
    version = BANNER.search(said)
    if version is None:
        raise ChoiceError(f"{path} does not say that it is a Bochs", evidence=said[-500:])
    # Where `make install` puts the firmware, and where it lies in a source tree; the distribution's otherwise.
    shares = [path.parent.parent / "share/bochs", path.parent / "bios", SHARE]
    return BochsProgram(
        version=f"{version.group(1)} ({path.name}, sha256 {sha256_cached(path)[:16]})",
        argv=(str(path),),
        bios=_first_file(share / BIOS for share in shares),
        vga_bios=_first_file(share / f"{VGA_BIOS}{end}" for share in shares for end in (".bin", "")),
        **_features(said),
    )


class _Features(TypedDict):
    debugger: tuple[str, ...] | None
    warns: bool


def _features(help_text: str) -> _Features:
    """What a Bochs says that it has when it is asked for help."""
    version = BANNER.search(help_text)
    numbers = tuple(map(int, re.findall(r"\d+", version.group(1))[:2])) if version else ()
    debugger = ("-debugger",) if "-debugger " in help_text else ()
    return {
        "debugger": debugger if "-rc filename" in help_text else None,
        "warns": numbers >= (3, 1),
    }


def _help(argv: Sequence[str], *files: str | None, environment: Mapping[str, str] | None = None) -> str:
    """What a Bochs says when it is asked for help; asked again when one of its files has changed."""

    def ask() -> Answer:
        said = _output([*argv, "--help"], environment)
        return Answer(said, [Path(path) for path in files if path] if BANNER.search(said) else [])

    return cached_answer(
        cache_folder(), "\0".join([*argv, "--help", *map(str, sorted((environment or {}).items()))]), ask
    )


def _first_file(paths: Iterable[Path]) -> Path:
    """The first that is a file; the distribution's, which comes last, where none is."""
    path = SHARE
    for path in paths:
        if path.is_file():
            break
    return path


def _output(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = ran(argv, environment=environment, seconds=limits.SAYS_WHAT_IT_IS)
    return (done.stdout + done.stderr).decode(errors="replace")
