"""Paths of this machine in what is kept of a boot, made neutral: reports and bundles go to others."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import msgspec

from emulators.observation import Observation

CACHE, HOME = b"$CACHE", b"~"


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


def _words() -> dict[bytes, bytes]:
    """What stands for which path, the longest first."""
    from emulators.host.files import cache_folder  # not for those who only read what is stored

    paths = {cache_folder(): CACHE, Path(tempfile.gettempdir()): b"/tmp", Path.home(): HOME}
    order = sorted((path for path in paths if path != Path("/")), key=lambda path: len(str(path)), reverse=True)
    return {str(path).encode(): paths[path] for path in order}


def _replaced(text: str, words: dict[bytes, bytes]) -> str:
    return _replaced_in(text.encode(errors="surrogateescape"), words).decode(errors="surrogateescape")


def _replaced_in(data: bytes, words: dict[bytes, bytes]) -> bytes:
    for path, word in words.items():
        if path in data:  # far quicker than the expression, which most logs do not need
            data = re.sub(rb"(?<![\w.-])" + re.escape(path) + rb"(?![\w-])", word, data)
    return data
