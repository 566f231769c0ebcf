"""A cache of folders that are expensive to make: each is made once, as a whole, shared by all runs, the least recently
used is cleared
first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from emulators.host.errors import EmulatorError

WAIT = 0.1  # seconds between looks at a lock that another run holds


class Cache:
    """Entries are folders named by their key, which has no dash. A lock file beside each is held shared by who uses it,
    alone by who makes or clears it; the kernel lets go of it when the process dies, however it dies.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    @contextlib.asynccontextmanager
    async def entry(self, key: str, make: Callable[[Path], Awaitable[None]]) -> AsyncIterator[Path]:
        """The entry's folder, made by `make` in an empty folder when there is none. It stays while the context lasts.

        What `make` leaves half done, by an exception or a kill, is never an entry. Raises EmulatorError, and what
        `make` raises.
        """
        place = self.folder / key
        with self._lock(key) as lock:
            while True:
                await _taken(lock, fcntl.LOCK_SH)
                if place.exists():
                    break
                await _taken(lock, fcntl.LOCK_EX)
                if not place.exists():
                    await self._make(key, place, make)
            os.utime(place)
            yield place

    async def _make(self, key: str, place: Path, make: Callable[[Path], Awaitable[None]]) -> None:
        self._sweep(key)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f".making-{key}-", ignore_cleanup_errors=True) as name:
            made = Path(name) / "entry"
            made.mkdir()
            await make(made)
            made.rename(place)
        self.trim()

    def keys(self) -> list[str]:
        """Of all entries, the longest unused first."""
        if not self.folder.is_dir():
            return []
        entries = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return [path.name for path in sorted(entries, key=lambda path: path.stat().st_mtime)]

    def bytes_used(self) -> int:
        """On the disk: holes in files count nothing."""
        return sum(disk_bytes(self.folder / key) for key in self.keys())

    def trim(self, most_bytes: int | None = None) -> None:
        """Clear entries until no more than `most_bytes` (the cache's own limit when None) are used, and what killed
        runs have left half made. An entry in use, or being made, stays.
        """
        for key in {left.name.split("-")[1] for left in self.folder.glob(".making-*-*")}:
            with self._lock(key) as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._sweep(key)
        limit = self.most_bytes if most_bytes is None else most_bytes
        used = self.bytes_used()
        for key in self.keys():
            if used <= limit:
                return
            size = disk_bytes(self.folder / key)
            if self._clear(key):
                used -= size

    def _sweep(self, key: str) -> None:
        """Remove what was left of making an entry, by a run that was killed. To be called with its lock held alone."""
        for left in self.folder.glob(f".making-{key}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _clear(self, key: str) -> bool:
        with self._lock(key) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            # Moved away first: what is being deleted is no entry any more.
            with (
                tempfile.TemporaryDirectory(dir=self.folder, prefix=".clearing-", ignore_cleanup_errors=True) as name,
                contextlib.suppress(FileNotFoundError),
            ):
                (self.folder / key).rename(Path(name) / "entry")
        return True

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[int]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / f".lock-{key}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmulatorError(f"{self.folder} cannot be used: {error.strerror}") from error
        try:
            yield lock
        finally:
            os.close(lock)


async def _taken(lock: int, kind: int) -> None:
    while True:
        try:
            return fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(WAIT)


def disk_bytes(path: Path) -> int:
    """Room that a file, or a folder with all in it, takes on the disk."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)
