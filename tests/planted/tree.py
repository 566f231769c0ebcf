"""KVM alone, built out of a distribution kernel's source package against its headers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from emulators.host.debian import unpack
from emulators.host.errors import EmulatorError, Progress
from emulators.host.mirror import Mirror
from emulators.hosted.appliance.kernel import cached, fetch, named
from emulators.hosted.appliance.kernel_files import Kernel

from .fault import Fault, planted

KVM = "arch/x86/kvm"
BUILT = ("kvm.ko", "kvm-intel.ko")
READY = "ready"
SAVED = ".whole"  # a source file as it is without the fault


class KvmTree:
    """Sources and headers of one kernel in a folder of its own; whatever is built there has that kernel's release."""

    def __init__(self, folder: Path, kernel: Kernel) -> None:
        self.folder = folder
        self._kernel = kernel
        release = kernel.release  # 6.1.0-57-cloud-amd64
        self.headers = folder / f"usr/src/linux-headers-{release}"
        self.common = folder / f"usr/src/linux-headers-{release.removesuffix('-cloud-amd64')}-common"

    @property
    def release(self) -> str:
        return self._kernel.release

    @property
    def sources(self) -> Path:
        return self.common / KVM

    def modules(self, out: Path) -> Path:
        """Build KVM as it is now, and put its modules, for `--kernel`, into the folder `out`. Returns `out`.

        Raises EmulatorError with the compiler's words.
        """
        argv = ["make", f"-j{os.cpu_count() or 1}", "-C", str(self.headers), f"M={self.sources}", "modules"]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise EmulatorError("KVM does not compile", evidence="\n".join(done.stderr.splitlines()[-20:]))
        out.mkdir(parents=True, exist_ok=True)
        for name in BUILT:
            # Debug information is nine tenths of a module, and of the time that Linux takes to load it.
            subprocess.run(["strip", "--strip-debug", "-o", out / name, self.sources / name], check=True)
        return out

    @contextlib.contextmanager
    def with_fault(self, fault: Fault) -> Iterator[None]:
        """The sources with the fault in them. Raises UnfitError. On leaving they are as they were."""
        path = self.sources / fault.file
        whole = path.read_text()
        changed = planted(whole, fault)
        saved = path.with_name(path.name + SAVED)
        part = saved.with_suffix(".part")
        part.write_text(whole)
        part.replace(saved)
        path.write_text(changed)
        try:
            yield
        finally:
            path.write_text(whole)
            saved.unlink()

    def restore(self) -> None:
        """Take out the fault that a runner left in the sources when it was killed."""
        for saved in self.sources.rglob(f"*{SAVED}"):
            saved.with_name(saved.name.removesuffix(SAVED)).write_text(saved.read_text())
            saved.unlink()


def prepare(version: str, folder: Path, cache: Path, say: Progress) -> KvmTree:
    """The tree of the kernel that `version` names ("6.1"), fetched and unpacked below `folder` unless it is there.

    The distribution must have linux-source and linux-headers of that very version. Raises EmulatorError.
    """
    kernel = fetch(version, cache, say)
    tree = KvmTree(folder / kernel.release, kernel)
    if not (tree.folder / READY).exists():
        shutil.rmtree(tree.folder, ignore_errors=True)
        tree.folder.mkdir(parents=True)
        _unpack(tree, version, cache, say)
        (tree.folder / READY).touch()
    tree.restore()
    return tree


def _unpack(tree: KvmTree, wanted: str, cache: Path, say: Progress) -> None:
    mirror = Mirror(cache, say)
    package = named(mirror, wanted, cached(cache))
    suite = mirror.suite(
        next(p.suite for p in mirror.packages(re.escape(package.name)) if p.version == package.version)
    )
    release = tree.release
    upstream = ".".join(package.version.split(".")[:2])
    names = [f"linux-headers-{release}", f"linux-headers-{release.removesuffix('-cloud-amd64')}-common"]
    exact = [f"{name}={package.version}" for name in (*names, f"linux-source-{upstream}")]
    say(f"downloading sources and headers of {release} from {suite.name} (150 MB)")
    for deb in suite.download([*exact, f"linux-kbuild-{upstream}"], tree.folder):
        unpack(deb, tree.folder)
        deb.unlink()
    say("unpacking KVM's sources")
    archive = tree.folder / f"usr/src/linux-source-{upstream}.tar.xz"
    with tarfile.open(archive) as tar:
        for member in tar:
            below = member.name.partition("/")[2]
            if below.startswith((f"{KVM}/", "virt/kvm/")) and member.isfile():
                _extract(tar, member, tree.common / below)
    archive.unlink()
    # The headers' Makefile names the common headers where their package would have put them.
    makefile = tree.headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{tree.folder}/usr/src/"))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read())
