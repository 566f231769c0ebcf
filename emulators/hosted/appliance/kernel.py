"""Kernels for the appliance: found in the mirror's suites, given as a .deb, or built by the user. Unpacked, never
installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from emulators.host.apt import Package
from emulators.host.cache import Cache
from emulators.host.debian import package_of, unpack
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import sha256, writing_below
from emulators.host.mirror import CACHED, Mirror, by_version, latest
from emulators.hosted.appliance.kernel_files import (
    BUILT_IN,
    Kernel,
    apart,
    built_for,
    find,
    kept_in,
    kvm_alone,
    put_over,
)

PREFIX = "linux-image-"
PATTERN = rf"{PREFIX}[0-9].*cloud-amd64"
META_PACKAGE = f"{PREFIX}cloud-amd64"
# What a linux-image of the newer layout depends on in place of holding kernel and modules itself.
PARTS = re.compile(r"linux-(?:binary|modules)-\S+")
RECORD = "kernel.json"
MOST_BYTES = 2 << 30  # of all kernels, some 15 MB each; the longest unused go first
USAGE = (
    "--kernel takes a version or its beginning, a .deb, a build tree, a folder with a bzImage and its modules, or one "
    "with kvm.ko and kvm-intel.ko alone"
)


class CachedKernel(msgspec.Struct, frozen=True, kw_only=True):
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


def named(mirror: Mirror, wanted: str, entry: Sequence[Package] = ()) -> Package:
    """The newest cloud kernel of this version. Raises EmulatorError with the versions that there are."""
    return latest(mirror, available, wanted, f"no kernel {wanted}", entry)


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
            found.append(Package(name=record.name, version=record.version, suite=CACHED))
    return found


def fetch(wanted: str | None, cache: Path, say: Progress) -> Kernel:
    """The kernel that `wanted` names: None for the distribution's current cloud kernel; a version or its beginning
    ("6.1"); the path of a .deb; a kernel build tree; a folder with a kernel image and its modules, with the .debs of
    one kernel, or with KVM's modules alone, which then replace those of the distribution's kernel of their release.

    Raises EmulatorError: no such kernel (and which there are), the download failed, no KVM in it, no room in the cache.
    """
    if wanted is not None and ("/" in wanted or wanted.endswith(".deb") or Path(wanted).is_dir()):
        return _of_path(Path(wanted).absolute(), cache, say)
    mirror = Mirror(cache, say)
    package = _current(mirror) if wanted is None else named(mirror, wanted, cached(cache))
    return _of_package(mirror, package, cache, say)


def _current(mirror: Mirror) -> Package:
    """What the distribution's meta package leads to, from the lists that the host's apt has."""
    there = {package.name: package for package in mirror.host.packages()}
    names = re.findall(rf"\b{PREFIX}\S+", there[META_PACKAGE].depends) if META_PACKAGE in there else []
    if not names or names[0] not in there:
        raise EmulatorError(f"apt knows no {META_PACKAGE}", hint="apt-get update")
    return there[names[0]]


def kernels(cache: Path) -> Cache:
    """The kernels that were fetched or unpacked, each a folder."""
    return Cache(cache / "kernels", MOST_BYTES)


def _of_package(mirror: Mirror, package: Package, cache: Path, say: Progress) -> Kernel:
    def make(folder: Path) -> None:
        there = package
        if package.suite == CACHED:  # damaged: whatever suite has it now
            there = named(mirror, package.version)
        say(f"downloading {there.name} {there.version} from {there.suite}")
        with _unpacking(folder, there.name) as debs:
            wanted = [f"{name}={there.version}" for name in parts_of(there) or [there.name]]
            _unpacked(mirror.suite(there.suite).download(wanted, debs), there.name, there.version, folder)

    key = f"{package.name}_{package.version.replace(':', '%3a')}"
    return _kept_in(kernels(cache).hold(key, make, say))


def _of_path(path: Path, cache: Path, say: Progress) -> Kernel:
    if path.is_dir():
        debs = sorted(
            deb for deb in path.glob("linux-*.deb") if re.match(r"linux-(image|binary|modules)-(?!.*-dbg_)", deb.name)
        )
        if not debs:
            rebuilt = kvm_alone(path)
            return apart(_with_kvm_of(path, rebuilt, cache, say) if rebuilt else find(path, str(path)))
    elif path.suffix == ".deb" and path.is_file():
        debs = [path]
    elif path.is_file():
        # A bzImage in its build tree, or beside its modules.
        tree = next((tree for tree in path.parents if (tree / BUILT_IN).exists()), path.parent)
        return apart(find(tree, str(path), path))
    else:
        raise ChoiceError(f"{path}: no such file or folder", hint=USAGE)
    digest = hashlib.sha256("".join(sha256(deb) for deb in debs).encode()).hexdigest()

    def make(folder: Path) -> None:
        say(f"unpacking {path.name}")
        with _unpacking(folder, path.name):
            name, version = package_of(debs[0]).split(" ", 1)
            _unpacked(debs, name, version, folder)

    return _kept_in(kernels(cache).hold(digest[:24], make, say))


def _with_kvm_of(path: Path, modules: Sequence[Path], cache: Path, say: Progress) -> Kernel:
    """The distribution's kernel of the release that these modules were built for, with them in place of its own.

    Raises ChoiceError when there is none, or they are of several releases.
    """
    releases = sorted({built_for(module) for module in modules})
    if len(releases) > 1 or not releases[0]:
        said = ", ".join(release or "a kernel that they do not name" for release in releases)
        raise ChoiceError(f"the modules in {path} were built for {said}: they must all name one release")
    try:
        kernel = fetch(releases[0], cache, say)
    except EmulatorError as error:
        raise type(error)(
            f"{path} holds KVM's modules alone, built for {releases[0]}, and that kernel cannot be had: {error}",
            hint="put its bzImage or vmlinuz beside them, or name its whole build tree",
            evidence=error.evidence,
        ) from error
    return put_over(kernel, modules, str(path))


@contextlib.contextmanager
def _unpacking(folder: Path, what: str) -> Iterator[Path]:
    """A place for packages, below the folder that they are unpacked in. Raises EmulatorError when there is no room."""
    with writing_below(folder.parent, what):
        debs = folder / "debs"
        debs.mkdir()
        yield debs
        shutil.rmtree(debs)


def _unpacked(debs: Sequence[Path], name: str, version: str, folder: Path) -> None:
    """Unpack packages, and keep of them what the appliance takes."""
    tree = folder / "tree"
    for deb in debs:
        unpack(deb, tree)
    kernel = find(tree, f"{name} {version}")
    record = CachedKernel(name=name, version=version, kernel=kept_in(kernel, folder))
    (folder / RECORD).write_bytes(msgspec.json.encode(record, enc_hook=str))
    shutil.rmtree(tree)


def _kept_in(folder: Path) -> Kernel:
    """The kernel in a folder of the cache. Raises EmulatorError."""
    record = _record(folder)
    if record is None:
        raise EmulatorError(f"{folder} holds no kernel", hint="difftest cache --check")
    return record.kernel.below(folder)


def _record(folder: Path) -> CachedKernel | None:
    try:
        return msgspec.json.decode(
            (folder / RECORD).read_bytes(), type=CachedKernel, dec_hook=lambda _, text: Path(text)
        )
    except (OSError, msgspec.DecodeError):
        return None
