"""Paths of this host in what is recorded of a boot: what they say of the user and of the machine is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from emulators.host.files import cache_folder

# The folder of one boot, of whatever run. Its name has numbers that are no boot's twice. A guest may have written what
# this searches: the number of folders is bounded, so that it takes no time beyond the length of the text.
SCRATCH = re.compile(r"(?:/[^\s/:=,;\"']+){0,16}/difftest-([a-z]+)-[\w-]+")
# Programs and files that distributions install, devices, and the appliance's own folders, which say nothing of a host.
PUBLIC = re.compile(r"/(?:usr|bin|sbin|lib\w*|etc|dev|proc|sys|cases|modules|tmp)(?:/|$)")
ABSOLUTE = re.compile(r"(?<![\w.$~/-])/(?:[^\s/:=,;\"'<>()]+/)+([^\s/:=,;\"'<>()]*)")


def neutral(text: str) -> str:
    """The text with `SCRATCH/bochs/NAME` for a file of a boot's own folder, `$CACHE/...` for one in the cache, `~/...`
    for one of the user's, and `.../NAME` for any other that no distribution has installed.
    """
    text = SCRATCH.sub(r"SCRATCH/\1", text)
    for folder, name in ((cache_folder(), "$CACHE"), (_home(), "~")):
        if folder != Path("/"):
            text = re.sub(rf"{re.escape(str(folder))}(?=[/\s:=,;\"']|$)", name, text)
    return ABSOLUTE.sub(lambda found: found[0] if PUBLIC.match(found[0]) else f".../{found[1]}", text)


def neutral_argv(argv: Sequence[str]) -> list[str]:
    """A command line, see `neutral`."""
    return [neutral(word) for word in argv]


def neutral_log(log: bytes) -> bytes:
    """A log, see `neutral`. Its other bytes stay what they are."""
    return neutral(log.decode("latin-1")).encode("latin-1")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # there is none
        return Path("/")
