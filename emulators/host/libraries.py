"""The shared libraries of a program."""

from __future__ import annotations

import os
import re
from pathlib import Path

from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import EmulatorError
from emulators.host.files import cache_folder
from emulators.host.tools import ran, tail

LOADERS_CACHE = Path("/etc/ld.so.cache")


def libraries_of(program: Path) -> list[Path]:
    """What a program loads, the loader included, by the paths it looks for them. Raises EmulatorError."""

    def ask() -> Answer:
        done = ran(["ldd", program], hint="apt-get install libc-bin")
        paths = re.findall(r"(?:=> )?(/\S+) \(0x", os.fsdecode(done.stdout))
        if done.returncode or not paths:
            raise EmulatorError(f"ldd cannot list the libraries of {program}", evidence=tail(done.stderr))
        found = list(dict.fromkeys(paths))
        # With LD_LIBRARY_PATH set, a library added later could win: do not cache.
        rests_on = [] if os.environ.get("LD_LIBRARY_PATH") else [program, LOADERS_CACHE, *map(Path, found)]
        return Answer("\n".join(found), rests_on)

    question = "\0".join(["ldd", str(program.absolute()), os.environ.get("LD_LIBRARY_PATH", "")])
    return [Path(path) for path in cached_answer(cache_folder(), question, ask).split("\n")]
