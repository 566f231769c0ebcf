"""The QEMU that is started: the distribution's, or one that the user built."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec

from emulators.host import limits
from emulators.host.debian import package_version
from emulators.host.errors import ChoiceError
from emulators.host.files import sha256_cached
from emulators.host.tools import ran, tail
from emulators.target import Requirement

EXECUTABLE = "qemu-system-x86_64"
INSTALL_QEMU = "apt-get install qemu-system-x86"
FIRMWARE = (Path("/usr/share/seabios/bios-256k.bin"), Path("/usr/share/seabios/vgabios-stdvga.bin"))


class QemuProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A QEMU that can be started."""

    executable: str  # a name that is looked up, or an absolute path
    version: str

    def identity(self) -> dict[str, str]:
        """Version, and the hashes of the distribution's firmware."""
        hashes = {f"{path.name} sha256": sha256_cached(path) for path in FIRMWARE if path.exists()}
        return {"qemu": self.version, **hashes}

    def requirement(self) -> Requirement:
        return Requirement("QEMU", shutil.which(self.executable) is not None, self.version, INSTALL_QEMU)


def qemu_program(wanted: str | None) -> QemuProgram:
    """The distribution's QEMU (which may be missing), or the program at a path. Raises EmulatorError: that is no
    QEMU.
    """
    if wanted is None:
        return QemuProgram(executable=EXECUTABLE, version=package_version("qemu-system-x86"))
    path = Path(wanted).absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ChoiceError(f"{path}: no program", hint=f"--qemu takes the path of a {EXECUTABLE}")
    argv = [str(path), "--version"]
    done = ran(argv, seconds=limits.SAYS_WHAT_IT_IS)
    version = re.search(r"QEMU emulator version (\S+)", done.stdout.decode(errors="replace"))
    if version is None:
        raise ChoiceError(f"{path} does not say that it is a QEMU", evidence=tail(done.stdout + done.stderr))
    return QemuProgram(
        executable=str(path), version=f"{version.group(1)} ({path.name}, sha256 {sha256_cached(path)[:16]})"
    )
