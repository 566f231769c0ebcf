"""Persistent cache of program output, invalidated when a file that the output depends on changes.

An answer is kept with the paths that it rests on and with what `stat` said of them; where one of them has changed in
any way, the program is asked again. What changed shortly before it was asked is not kept: a change in the same tick of
the clock would not show.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

FOLDER = "answers"  # below the cache
SETTLED_SECONDS = 2.0  # how long files must have lain still for an answer to be kept
HEX = re.compile(r"[0-9a-f]{64}")


class Answer(NamedTuple):
    """What was said, and the files and folders (each with the entries in it) that it rests on. One on none is not
    kept.
    """

    said: str
    rests_on: Sequence[Path]


class _StoredAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of an answer. `state` is what `state_of` said of the paths."""

    question: str
    said: str
    rests_on: list[str]
    state: str


class _Hash(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    state: str
    sha256: str


def cached_answer(cache: Path, question: str, ask: Callable[[], Answer]) -> str:
    """The answer to a question, which names all that it depends on besides files. Raises what `ask` raises."""
    path = cache / FOLDER / f"{hashlib.sha256(question.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_StoredAnswer)
        if known.question == question and known.state == state_of(known.rests_on):
            return known.said
    except (OSError, msgspec.DecodeError):
        pass
    begun = time.time()
    answer = ask()
    paths = [str(one) for one in answer.rests_on]
    if paths and unchanged_since(paths, begun):
        write(path, msgspec.json.encode(_StoredAnswer(question, answer.said, paths, state_of(paths))))
    return answer.said


def state_of(paths: Iterable[str]) -> str:
    """What `stat` says of files and folders, and of what is in the folders: whatever is done to one changes it."""
    digest = hashlib.sha256()
    for path in paths:
        for name, stat in _stats(path):
            facts = (stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if stat else None
            digest.update(f"{name}\0{facts}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def unchanged_since(paths: Iterable[str], when: float) -> bool:
    """Whether nothing was done to these in the seconds before `when`, nor since."""
    limit = (when - SETTLED_SECONDS) * 1e9
    return all(
        stat is None or max(stat.st_mtime_ns, stat.st_ctime_ns) < limit for path in paths for _, stat in _stats(path)
    )


def hashed(cache: Path, path: Path, compute: Callable[[Path], str]) -> str:
    """A file's SHA-256, computed again when the file has changed."""
    hashes, place, name = _hashes(cache), _place(cache), str(path.absolute())
    known, state = hashes.get(name), state_of([name])
    if known is not None and known.state == state and HEX.fullmatch(known.sha256):
        return known.sha256
    begun = time.time()
    digest = compute(path)
    if unchanged_since([name], begun) and state_of([name]) == state:
        hashes[name] = _Hash(state, digest)
        write(place, msgspec.json.encode(hashes))
    return digest


def write(path: Path, data: bytes) -> None:
    """Put a file in its place at once. Where that fails nothing is lost but time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise


def _place(cache: Path) -> Path:
    return cache / FOLDER / "hashes.json"


@functools.cache
def _hashes(cache: Path) -> dict[str, _Hash]:
    """All hashes that are kept, read once. Two runs that add to them may lose some of each other's."""
    try:
        return msgspec.json.decode(_place(cache).read_bytes(), type=dict[str, _Hash])
    except (OSError, msgspec.DecodeError):
        return {}


def _stats(path: str) -> list[tuple[str, os.stat_result | None]]:
    """Of the path itself, links followed, and of each entry of a folder."""
    stats: list[tuple[str, os.stat_result | None]] = [(path, _stat(path))]
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        stats += [(entry.path, _stat(entry.path)) for entry in sorted(entries, key=lambda entry: entry.name)]
    return stats


def _stat(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except OSError:
        return None
