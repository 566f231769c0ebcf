"""What Debian's package manager knows."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from emulators.host.answers import Answer, kept
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.files import cache_folder

DATABASE = Path("/var/lib/dpkg")


@functools.cache
def package_version(package: str) -> str:
    """The version of an installed Debian package, or "" where there is none (or no dpkg)."""
    argv = ["dpkg-query", "-W", "-f", "${Version}", package]
    program, other = shutil.which(argv[0]), os.environ.get("DPKG_ADMINDIR")
    if program is None:
        return ""

    def ask() -> Answer:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
        said = done.stdout.strip() if done.returncode == 0 else ""
        # Both are replaced as packages come and go.
        return Answer(said, [] if other else [Path(program), DATABASE / "status", DATABASE / "updates"])

    return kept(cache_folder(), "\0".join([*argv, other or ""]), ask)


def unpack(deb: Path, tree: Path) -> None:
    """Unpack a package into a folder, installing nothing. Raises EmulatorError: no package, or no room."""
    try:
        done = subprocess.run(["dpkg-deb", "-x", str(deb), str(tree)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise EmulatorError(f"dpkg-deb: {error.strerror}", hint="packages are unpacked with Debian's dpkg") from error
    if done.returncode:
        raise EmulatorError(
            f"{deb.name} cannot be unpacked", hint=f"is there room in {tree.parent}?", evidence=done.stderr[-1000:]
        )


def package_of(deb: Path) -> str:
    """A .deb's name and version. Raises EmulatorError when it is none."""
    argv = ["dpkg-deb", "-f", str(deb), "Package", "Version"]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ChoiceError(f"{deb} is no Debian package", evidence=done.stderr[-1000:])
    return " ".join(line.partition(": ")[2] for line in done.stdout.splitlines())
