"""A small Debian mirror for tests: real packages, signed by a key of its own, served over HTTP, and an apt that uses
it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import lzma
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import emulators.host.apt

RELEASES = {"6.1.0-7-cloud-amd64": "6.1.20-1", "6.12.5-cloud-amd64": "6.12.5-1"}


class MirrorServer:
    """The mirror's tree. `serve()` makes this process's apt use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "debian"
        self.keys = folder / "keys"
        self.keys.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", "--passphrase", "", "test archive", "default", "default", "never")
        self.keyring = folder / "keyring.gpg"
        self.keyring.write_bytes(self._gpg("--export"))

    def close(self) -> None:
        """End the agent that gpg has started for the key."""
        subprocess.run(["gpgconf", "--homedir", str(self.keys), "--kill", "all"], capture_output=True, check=True)

    def suite(self, name: str, packages: list[Path]) -> None:
        """Make or replace a suite that holds these packages."""
        stanzas = []
        for deb in packages:
            control = subprocess.run(["dpkg-deb", "-f", str(deb)], capture_output=True, text=True, check=True).stdout
            data = deb.read_bytes()
            pool = self.root / "pool" / deb.name
            pool.parent.mkdir(parents=True, exist_ok=True)
            pool.write_bytes(data)
            facts = f"Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
            stanzas.append(control.strip() + "\n" + facts)
        lists = "\n".join(stanzas).encode()
        folder = self.root / "dists" / name
        (folder / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
        (folder / "main/binary-amd64/Packages").write_bytes(lists)
        release = (
            f"Origin: Debian\nLabel: Debian\nSuite: {name}\nCodename: {name}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            "Architectures: amd64\nComponents: main\nSHA256:\n"
            f" {hashlib.sha256(lists).hexdigest()} {len(lists)} main/binary-amd64/Packages\n"
        )
        (folder / "InRelease").write_bytes(self._gpg("--clearsign", data=release.encode()))

    @contextlib.contextmanager
    def serve(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """Serve the tree and have apt use it; yields the mirror's address."""
        handler = functools.partial(Quiet, directory=str(self.folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            address = f"http://127.0.0.1:{server.server_address[1]}/debian/"
            monkeypatch.setattr(emulators.host.apt, "KEYRINGS", (self.keyring,))
            monkeypatch.setenv(
                "APT_CONFIG", str(apt_of(self.folder / "host", one_line=f"deb {address} bookworm main\n"))
            )
            try:
                yield address
            finally:
                server.shutdown()
                thread.join()

    def _gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.keys), "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def apt_of(folder: Path, *, one_line: str = "", deb822: str = "", more: str = "") -> Path:
    """The apt.conf of a host with these sources."""
    for name in ("parts", "state/lists/partial", "cache/archives/partial", "none"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(one_line)
    (folder / "parts/test.sources").write_text(deb822)
    (folder / "status").touch()
    conf = folder / "apt.conf"
    settings = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": folder / "none",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": "amd64",
    }
    conf.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()) + more)
    return conf


def deb(folder: Path, name: str, version: str, files: Mapping[str, bytes], depends: str = "") -> Path:
    """Build a package."""
    tree = folder / "trees" / name
    for path, data in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    (tree / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody <n@example.org>\n"
        f"Description: test\n"
    )
    (tree / "DEBIAN/control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
    target = folder / f"{name}_{version}_amd64.deb"
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(argv, capture_output=True, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    return target


def bzimage(release: str) -> bytes:
    """The head of a bzImage that says which release it is."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    text = f"{release} (nobody@example.org) #1 SMP".encode()
    head[0x300 : 0x300 + len(text)] = text
    return bytes(head)


def module(release: str) -> bytes:
    return b"\x7fELF" + bytes(100) + f"vermagic={release} SMP mod_unload \0".encode()


def old_layout(folder: Path, release: str, version: str) -> Path:
    """One linux-image package with all in it."""
    kvm = f"lib/modules/{release}/kernel/arch/x86/kvm"
    files = {
        f"boot/vmlinuz-{release}": bzimage(release),
        f"{kvm}/kvm.ko": module(release),
        f"{kvm}/kvm-intel.ko": module(release),
        f"lib/modules/{release}/kernel/virt/lib/irqbypass.ko": module(release),
    }
    return deb(folder, f"linux-image-{release}", version, files, "kmod, linux-base")


def split_layout(folder: Path, release: str, version: str) -> list[Path]:
    """A linux-image package that only depends on the two that hold the kernel and the modules, compressed."""
    kvm = f"usr/lib/modules/{release}/kernel/arch/x86/kvm"
    packed = lzma.compress(module(release))
    depends = ", ".join(f"linux-{part}-{release} (= {version})" for part in ("base", "binary", "modules"))
    return [
        deb(folder, f"linux-image-{release}", version, {}, depends),
        deb(folder, f"linux-binary-{release}", version, {f"usr/lib/modules/{release}/vmlinuz": bzimage(release)}),
        deb(
            folder, f"linux-modules-{release}", version, {f"{kvm}/kvm.ko.xz": packed, f"{kvm}/kvm-intel.ko.xz": packed}
        ),
    ]
