"""Kernels for the appliance: found in the mirror's suites, given as a .deb, or built by the user. Unpacked, never
installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from emulators.host.apt import Package
from emulators.host.debian import package_of, unpack
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import sha256, writing_below
from emulators.host.mirror import Mirror, by_version, latest
from emulators.hosted.appliance.kernel_files import BUILT_IN, Kernel, find, kept_in

PREFIX = "linux-image-"
PATTERN = rf"{PREFIX}[0-9].*cloud-amd64"
META_PACKAGE = f"{PREFIX}cloud-amd64"
# What a linux-image of the newer layout depends on in place of holding kernel and modules itself.
PARTS = re.compile(r"linux-(?:binary|modules)-\S+")
RECORD = "kernel.json"
USAGE = "--kernel takes a version or its beginning, a .deb, a build tree, or a folder with a bzImage and its modules"


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """kernel.json: what a folder of the cache holds."""

    name: str
    version: str
    kernel: Kernel  # its paths are relative to the folder


def available(mirror: Mirror) -> list[Package]:
    """The cloud kernels of all suites that can be had whole, the oldest first. Raises EmulatorError.

    A mirror may have dropped the packages that hold the modules of a kernel, and go on listing the kernel.
    """
    held = {(package.name, package.version) for package in mirror.packages(PARTS.pattern)}
    return [
        package
        for package in mirror.packages(PATTERN)
        if not re.search(rf"\b{PREFIX}", package.depends)
        and all((part, package.version) in held for part in parts_of(package))
    ]


def parts_of(package: Package) -> list[str]:
    """The packages that hold the kernel and the modules in place of this one; none when it holds them itself."""
    return [name for name in PARTS.findall(package.depends) if not name.startswith("linux-binary-unsigned")]


def named(mirror: Mirror, wanted: str, kept: Sequence[Package] = ()) -> Package:
    """The newest cloud kernel of this version. Raises EmulatorError with the versions that there are."""
    return latest(mirror, available, wanted, f"no kernel {wanted}", kept)


def in_order(packages: Sequence[Package], ends: Sequence[Package]) -> dict[str, Package]:
    """The kernels by version, the oldest first: one of each upstream version, the newest of its builds, and the
    `ends`.
    """
    chosen = {_upstream(package): package for package in by_version(packages)}
    chosen |= {_upstream(end): end for end in ends}
    every = {package.version: package for package in (*chosen.values(), *ends)}
    return {package.version: package for package in by_version(every.values())}


def _upstream(package: Package) -> str:
    return package.version.rpartition("-")[0]


def cached(cache: Path) -> list[Package]:
    """The packages whose kernels are in the cache."""
    found = []
    for path in (cache / "kernels").glob(f"{PREFIX}*/{RECORD}"):
        record = _record(path.parent)
        if record is not None:
            found.append(Package(name=record.name, version=record.version, suite="cache"))
    return found


def fetch(wanted: str | None, cache: Path, say: Progress) -> Kernel:
    """The kernel that `wanted` names: None for the distribution's current cloud kernel; a version or its beginning
    ("6.1"); the path of a .deb; a kernel build tree; a folder with a kernel image and its modules, or with the .debs of
    one kernel.

    Raises EmulatorError: no such kernel (and which there are), the download failed, no KVM in it, no room in the cache.
    """
    if wanted is not None and ("/" in wanted or wanted.endswith(".deb") or Path(wanted).is_dir()):
        return _of_path(Path(wanted).absolute(), cache, say)
    mirror = Mirror(cache, say)
    package = _current(mirror) if wanted is None else named(mirror, wanted, cached(cache))
    return _of_package(mirror, package, cache / "kernels", say)


def _current(mirror: Mirror) -> Package:
    """What the distribution's meta package leads to, from the lists that the host's apt has."""
    there = {package.name: package for package in mirror.host.packages()}
    names = re.findall(rf"\b{PREFIX}\S+", there[META_PACKAGE].depends) if META_PACKAGE in there else []
    if not names or names[0] not in there:
        raise EmulatorError(f"apt knows no {META_PACKAGE}", hint="apt-get update")
    return there[names[0]]


def _of_package(mirror: Mirror, package: Package, folder: Path, say: Progress) -> Kernel:
    kept = folder / f"{package.name}_{package.version.replace(':', '%3a')}"
    record = _record(kept)
    if record is None:
        names = parts_of(package) or [package.name]
        say(f"downloading {package.name} {package.version} from {package.suite}")
        with _workshop(folder, package.name) as temporary:
            wanted = [f"{name}={package.version}" for name in names]
            debs = mirror.suite(package.suite).download(wanted, temporary)
            record = _unpacked(debs, package.name, package.version, kept, temporary)
    return record.kernel.below(kept)


def _of_path(path: Path, cache: Path, say: Progress) -> Kernel:
    if path.is_dir():
        debs = sorted(
            deb for deb in path.glob("linux-*.deb") if re.match(r"linux-(image|binary|modules)-(?!.*-dbg_)", deb.name)
        )
        if not debs:
            return find(path, str(path))
    elif path.suffix == ".deb" and path.is_file():
        debs = [path]
    elif path.is_file():
        # A bzImage in its build tree, or beside its modules.
        return find(next((tree for tree in path.parents if (tree / BUILT_IN).exists()), path.parent), str(path), path)
    else:
        raise ChoiceError(f"{path}: no such file or folder", hint=USAGE)
    digest = hashlib.sha256("".join(sha256(deb) for deb in debs).encode()).hexdigest()
    kept = cache / "kernels" / digest[:24]
    record = _record(kept)
    if record is None:
        say(f"unpacking {path.name}")
        with _workshop(kept.parent, path.name) as temporary:
            name, version = package_of(debs[0]).split(" ", 1)
            record = _unpacked(debs, name, version, kept, temporary)
    return record.kernel.below(kept)


def _unpacked(debs: Sequence[Path], name: str, version: str, kept: Path, temporary: Path) -> Cached:
    """Unpack packages in `temporary`, and keep of them what the appliance takes, in `kept`: whole, or not at all."""
    already = _record(kept)
    if already is not None:
        return already
    tree, new = temporary / "tree", temporary / "kept"
    for deb in debs:
        unpack(deb, tree)
    kernel = find(tree, f"{name} {version}")
    new.mkdir()
    record = Cached(name=name, version=version, kernel=kept_in(kernel, new))
    (new / RECORD).write_bytes(msgspec.json.encode(record, enc_hook=str))
    new.rename(kept)
    return record


@contextlib.contextmanager
def _workshop(folder: Path, what: str) -> Iterator[Path]:
    """A temporary folder beside the kernels that are kept, for one at a time. Raises EmulatorError when there is no
    room.
    """
    from filelock import FileLock  # slow to load, and most runs fetch nothing

    with writing_below(folder, what):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"), tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
            yield Path(temporary)


def _record(folder: Path) -> Cached | None:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Cached, dec_hook=lambda _, text: Path(text))
    except (OSError, msgspec.DecodeError):
        return None
