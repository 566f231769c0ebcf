"""What Debian's package manager knows."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.files import cache_folder
from emulators.host.tools import ran, tail

DATABASE = Path("/var/lib/dpkg")
DPKG = "packages are read with Debian's dpkg"


@functools.cache
def package_version(package: str) -> str:
    """The version of an installed Debian package, or "" where there is none (or no dpkg)."""
    argv = ["dpkg-query", "-W", "-f", "${Version}", package]
    program, other = shutil.which(argv[0]), os.environ.get("DPKG_ADMINDIR")
    if program is None:
        return ""

    def ask() -> Answer:
        done = ran(argv, hint=DPKG, seconds=limits.SAYS_WHAT_IT_IS)
        version = done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
        # Both are replaced as packages come and go.
        return Answer(version, [] if other else [Path(program), DATABASE / "status", DATABASE / "updates"])

    return cached_answer(cache_folder(), "\0".join([*argv, other or ""]), ask)


def unpack(deb: Path, tree: Path) -> None:
    """Unpack a package into a folder, installing nothing. Raises EmulatorError: no package, or no room."""
    done = ran(["dpkg-deb", "-x", deb, tree], hint=DPKG)
    if done.returncode:
        raise EmulatorError(
            f"{deb.name} cannot be unpacked", hint=f"is there room in {tree.parent}?", evidence=tail(done.stderr)
        )


def package_of(deb: Path) -> str:
    """A .deb's name and version. Raises EmulatorError when it is none."""
    done = ran(["dpkg-deb", "-f", deb, "Package", "Version"], hint=DPKG)
    if done.returncode:
        raise ChoiceError(f"{deb} is no Debian package", evidence=tail(done.stderr))
    return " ".join(line.partition(": ")[2] for line in done.stdout.decode(errors="replace").splitlines())
