"""Paths of this machine in what is kept of a boot, made neutral: reports and bundles go to others."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import msgspec

from emulators.observation import Observation

CACHE, HOME = "$CACHE", "~"


def neutral(observation: Observation) -> Observation:
    """The observation with neutral paths in its command lines, logs and words on how it ended. What came from the
    guest stays as it is.
    """
    words = _words()
    return msgspec.structs.replace(
        observation,
        commands=[[_replaced(word, words) for word in argv] for argv in observation.commands],
        logs={name: _replaced_in(log, words) for name, log in observation.logs.items()},
        detail=_replaced(observation.detail, words),
    )


def _words() -> dict[re.Pattern[bytes], bytes]:
    """What stands for which path, the longest first."""
    from emulators.host.files import cache_folder  # not for those who only read what is stored

    paths = {str(cache_folder()): CACHE, tempfile.gettempdir(): "/tmp", str(Path.home()): HOME}
    order = sorted((path for path in paths if path.count("/") >= 1 and path != "/"), key=len, reverse=True)
    return {
        re.compile(rb"(?<![\w.-])" + re.escape(path.encode()) + rb"(?![\w-])"): paths[path].encode() for path in order
    }


def _replaced(text: str, words: dict[re.Pattern[bytes], bytes]) -> str:
    return _replaced_in(text.encode(errors="surrogateescape"), words).decode(errors="surrogateescape")


def _replaced_in(data: bytes, words: dict[re.Pattern[bytes], bytes]) -> bytes:
    for path, word in words.items():
        data = path.sub(word, data)  # none of the words has a backslash
    return data
