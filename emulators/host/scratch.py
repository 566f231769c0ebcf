"""Temporary folders that a run which is killed does not leave for ever: the next run removes them."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "difftest-"
OURS = re.compile(rf"{PREFIX}[a-z]+-(\d+)-(\d+)-\w+")


@contextlib.contextmanager
def scratch(purpose: str, where: Path | None = None) -> Iterator[Path]:
    """An empty folder while the context lasts, in `where` or where temporary files go; `purpose` is a word in its name.
    Raises OSError.

    Its name has the process's number and start time, and it is locked: it is removed by another run only when neither
    is there any more.
    """
    folder = str(where or tempfile.gettempdir())
    _sweep_once(folder)
    prefix = f"{PREFIX}{purpose}-{os.getpid()}-{_started(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield Path(name)
        finally:
            os.close(lock)


def sweep(folder: Path) -> list[Path]:
    """Remove what runs that are no more have left in a folder, and return that. Another user's, and what cannot be
    removed, stays.
    """
    return [left for left in folder.glob(f"{PREFIX}*") if _is_left(left) and _removed(left)]


@functools.cache
def _sweep_once(folder: str) -> None:
    with contextlib.suppress(OSError):
        sweep(Path(folder))


def _is_left(path: Path) -> bool:
    match = OURS.fullmatch(path.name)
    return match is not None and _started(int(match[1])) != match[2]


def _removed(path: Path) -> bool:
    try:
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a process that is not seen from here may have it
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(lock)
    return not path.exists()


def _started(pid: int) -> str:
    """When a process was started, in clock ticks since the host was (proc(5)); "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
