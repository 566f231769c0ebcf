"""Kernels for the appliance: found in the host's apt archives or given as a .deb, unpacked, never installed."""

from __future__ import annotations

import lzma
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from emulators.files import sha256
from emulators.target import EmulatorError

APT_LISTS = Path("/var/lib/apt/lists")
META_PACKAGE = "linux-image-cloud-amd64"
# In the order they must be loaded; newer kernels have no separate irqbypass.
MODULES = ("irqbypass", "kvm", "kvm-intel")


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """An unpacked kernel package."""

    release: str  # as uname -r says it
    package: str  # the package's name and version
    vmlinuz: Path
    modules: tuple[Path, ...]  # in the order in which they are loaded
    sha256: str  # of the package

    def module_bytes(self, path: Path) -> bytes:
        """A module, decompressed."""
        data = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(data)
        if path.suffix == ".zst":
            return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
        return data


def available() -> list[str]:
    """Names of the cloud kernel packages that the host's apt archives hold, oldest first."""
    out = _apt(["apt-cache", "search", "--names-only", r"^linux-image-[0-9].*-cloud-amd64$"])
    names = [line.split()[0] for line in out.splitlines() if line]
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def fetch(wanted: str | None, cache: Path, say: Callable[[str], None]) -> Kernel:
    """The kernel that `wanted` names: None for the distribution's current cloud kernel, a version or its beginning
    ("6.1"), or the path of a .deb.

    Raises EmulatorError: no such kernel (and which there are), the download failed, no KVM modules in it.
    """
    if wanted and (wanted.endswith(".deb") or "/" in wanted):
        path = Path(wanted)
        if not path.is_file():
            raise EmulatorError(f"{wanted}: no such file", hint="--kernel takes a version or the path of a .deb")
        return _unpacked(path, cache, say)
    kept = _remembered(wanted, cache)
    if kept is None:
        package = _named(wanted) if wanted else _current()
        version = _candidate(package)
        kept = cache / f"{package}_{version}.deb".replace(":", "%3a")
        if not kept.exists():
            say(f"downloading {package} {version}")
            _download(package, kept)
        _remember(wanted, cache, kept)
    return _unpacked(kept, cache, say)


class _Memory(msgspec.Struct, frozen=True):
    """What apt answered: which package a wish led to, while apt's lists were of this age. Asking apt takes a second."""

    lists: int  # modification time of apt's lists, ns
    deb: str


def _remembered(wanted: str | None, cache: Path) -> Path | None:
    try:
        memory = msgspec.json.decode(_memory_file(wanted, cache).read_bytes(), type=_Memory)
        deb = cache / memory.deb
        return deb if memory.lists == APT_LISTS.stat().st_mtime_ns and deb.exists() else None
    except (OSError, msgspec.DecodeError):
        return None


def _remember(wanted: str | None, cache: Path, deb: Path) -> None:
    memory = _Memory(APT_LISTS.stat().st_mtime_ns if APT_LISTS.exists() else 0, deb.name)
    temporary = cache / f".memory-{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(memory))
    temporary.replace(_memory_file(wanted, cache))


def _memory_file(wanted: str | None, cache: Path) -> Path:
    return cache / f"wish-{re.sub(r'[^A-Za-z0-9.-]', '_', wanted or 'current')}.json"


def _current() -> str:
    depends = _apt(["apt-cache", "depends", META_PACKAGE])
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if match is None:
        raise EmulatorError(f"apt knows no {META_PACKAGE}", hint="apt-get update")
    return match.group(1)


def _named(wanted: str) -> str:
    names = available()
    hits = [name for name in names if name.removeprefix("linux-image-").startswith(wanted)]
    if not hits:
        raise EmulatorError(
            f"no kernel {wanted} in the apt archives of this host",
            hint="there are: " + (", ".join(names[-8:]) or "none; run apt-get update"),
        )
    return hits[-1]


def _candidate(package: str) -> str:
    match = re.search(r"Candidate: (\S+)", _apt(["apt-cache", "policy", package]))
    if match is None or match.group(1) == "(none)":
        raise EmulatorError(f"apt has no version of {package} to download", hint="apt-get update")
    return match.group(1)


def _download(package: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        done = subprocess.run(["apt-get", "-q", "download", package], cwd=folder, capture_output=True, text=True, check=False)
        files = list(Path(folder).glob("*.deb"))
        if done.returncode or len(files) != 1:
            raise EmulatorError(
                f"apt-get could not download {package}",
                hint="apt-get update, and try again",
                evidence=done.stderr[-1000:],
            )
        files[0].replace(target)


def _unpacked(deb: Path, cache: Path, say: Callable[[str], None]) -> Kernel:
    digest = sha256(deb)
    folder = cache / digest[:24]
    if not folder.exists():
        say(f"unpacking {deb.name}")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".unpack-") as temporary:
            tree = Path(temporary) / "tree"
            done = subprocess.run(["dpkg-deb", "-x", str(deb), str(tree)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise EmulatorError(f"{deb} is no Debian package", evidence=done.stderr[-1000:])
            _look(deb, tree, digest)
            if not folder.exists():
                tree.rename(folder)
    return _look(deb, folder, digest)


def _look(deb: Path, tree: Path, digest: str) -> Kernel:
    """Find kernel and modules in an unpacked package. Raises EmulatorError when something is missing."""
    images = sorted([*tree.glob("boot/vmlinuz-*"), *tree.glob("**/lib/modules/*/vmlinuz")])
    if not images:
        raise EmulatorError(f"{deb.name} holds no kernel image", hint="it takes a linux-image package")
    releases = {path.name for path in tree.glob("**/lib/modules/*") if path.is_dir()}
    found: list[Path] = []
    for name in MODULES:
        hits = sorted(path for path in tree.glob(f"**/{name}.ko*") if path.suffix in (".ko", ".xz", ".zst"))
        found += hits[:1]
    if not any(path.name.startswith("kvm-intel.ko") for path in found) or len(releases) != 1:
        raise EmulatorError(f"{deb.name} holds no kvm-intel module", hint="it takes a linux-image package with its modules")
    fields = subprocess.run(
        ["dpkg-deb", "-f", str(deb), "Package", "Version"], capture_output=True, text=True, check=False
    ).stdout
    package = " ".join(line.partition(": ")[2] for line in fields.splitlines())
    return Kernel(release=releases.pop(), package=package, vmlinuz=images[0], modules=tuple(found), sha256=digest)


def _apt(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise EmulatorError(f"{argv[0]}: {error.strerror}", hint="kernels are fetched through apt, on Debian") from error
