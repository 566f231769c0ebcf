"""A cache of folders that are made or fetched once: each whole, shared by all runs, checked before it is used.

The least recently used are cleared first when there are too many.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import content_sha256, writing_below
from emulators.host.limits import AnswerTimeout

WAIT = 0.1  # seconds between looks at a lock that another run holds
LOCK = ".lock-"  # in front of an entry's key: the name of its lock
SUMS = ".sums"  # in an entry: the hash of each of its files
LIMIT, WHOLE_GIB = "DIFFTEST_CACHE_GIB", 16.0  # in the environment; what the limits of all caches come to without it
_HELD: dict[Path, int] = {}  # the locks of entries that this process uses until it ends


class Cache:
    """Entries are folders named by their key. A lock file beside each is held shared by who uses it, alone by who makes
    or clears it; the kernel lets go of it when the process dies, however it dies.

    An entry has the hashes of its files in it. They are compared when `stat` says that one of the files has changed
    since they were compared last; what is damaged is made again. Whoever makes an entry gets an empty folder; what is
    left half made, by an exception or a kill, is never one.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """`most_bytes` is the cache's limit where the user has set none for all caches: see `scale`."""
        self.folder = folder
        self.most_bytes = int(most_bytes * scale())

    @contextlib.asynccontextmanager
    async def entry(self, key: str, make: Callable[[Path], Awaitable[None]], say: Progress) -> AsyncIterator[Path]:
        """The entry's folder, made when there is none. Others stay away from it while the context lasts, and it is not
        cleared while this process lives.

        Raises EmulatorError, and what `make` raises.
        """
        with self._lock(key) as lock:
            while True:
                if lock.at_once(fcntl.LOCK_SH):
                    if await asyncio.to_thread(self._whole, key):
                        break
                    self._let_go(key)
                    if lock.at_once(fcntl.LOCK_EX):
                        if not await asyncio.to_thread(self._whole, key):
                            with self._making(key, say) as made:
                                await make(made)
                        continue
                await asyncio.sleep(lock.pause())
            self._keep(key, lock)
            yield self._used(key)

    def hold(self, key: str, make: Callable[[Path], None], say: Progress) -> Path:
        """The entry's folder, made when there is none. It stays while this process lives. Blocks: call it in a thread.

        Raises EmulatorError, and what `make` raises.
        """
        with self._lock(key) as lock:
            while True:
                if lock.at_once(fcntl.LOCK_SH):
                    if self._whole(key):
                        break
                    self._let_go(key)
                    if lock.at_once(fcntl.LOCK_EX):
                        if not self._whole(key):
                            with self._making(key, say) as made:
                                make(made)
                        continue
                time.sleep(lock.pause())
            self._keep(key, lock)
        return self._used(key)

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
        for left in [*self.folder.glob(".making-*"), *self.folder.glob(".clearing-*")]:
            self._unless_used(left.name.split("-", 1)[1], self._sweep)
        for lock in self.folder.glob(f"{LOCK}*"):
            if not (self.folder / (key := lock.name.removeprefix(LOCK))).exists():
                self._unless_used(key, self._sweep)
        limit = self.most_bytes if most_bytes is None else most_bytes
        used = self.bytes_used()
        for key in self.keys():
            if used <= limit:
                return
            size = disk_bytes(self.folder / key)
            if self._unless_used(key, self._clear):
                used -= size

    def clear(self) -> None:
        """Clear all that is not in use, and files that belong to no entry."""
        self.trim(0)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_file() and not path.name.startswith(LOCK):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is more in it
            self.folder.rmdir()

    def check(self) -> list[str]:
        """Compare all files of all entries with their hashes. Clears what is damaged, and returns the keys of that."""
        return [key for key in self.keys() if not _intact(self.folder / key) and self._unless_used(key, self._clear)]

    def _whole(self, key: str) -> bool:
        """Whether there is such an entry, and nothing in it has changed."""
        place = self.folder / key
        if not place.is_dir():
            return False

        def ask() -> Answer:
            if not _intact(place):
                return Answer("no", [])
            return Answer("yes", [place / SUMS, *map(place.joinpath, _sums(place))])

        return cached_answer(self.folder.parent, f"{place} is whole", ask) == "yes"

    @contextlib.contextmanager
    def _making(self, key: str, say: Progress) -> Iterator[Path]:
        """An empty folder that becomes the entry when the context ends. To be entered with its lock held alone."""
        place = self.folder / key
        if place.exists():
            say(f"{place} is damaged: it is made again")
        made = self.folder / f".making-{key}"
        with writing_below(self.folder, key):
            self._clear(key)
            made.mkdir()
        try:
            yield made
            with writing_below(self.folder, key):
                _write_sums(made)
                made.rename(place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self.trim()

    def _keep(self, key: str, lock: _Lock) -> None:
        """Have an entry's lock, shared, until the process ends: what it has used it may use again."""
        if self.folder / key not in _HELD:
            _HELD[self.folder / key] = os.dup(lock.descriptor)

    def _let_go(self, key: str) -> None:
        """Of an entry that is damaged: it could not be made again while this process keeps it."""
        if self.folder / key in _HELD:
            os.close(_HELD.pop(self.folder / key))

    def _used(self, key: str) -> Path:
        with contextlib.suppress(OSError):  # a cache that takes nothing more can still be used
            os.utime(self.folder / key)
        return self.folder / key

    def _unless_used(self, key: str, act: Callable[[str], None]) -> bool:
        """Do something with an entry's lock held alone, unless another has it. Whether it was done. A lock without an
        entry goes.
        """
        with self._lock(key) as lock:
            if not lock.at_once(fcntl.LOCK_EX):
                return False
            act(key)
            if not (self.folder / key).exists():
                lock.remove()
        return True

    def _clear(self, key: str) -> None:
        """Remove an entry. To be called with its lock held alone."""
        self._sweep(key)
        with contextlib.suppress(FileNotFoundError):
            # Moved away first: what is being deleted is no entry any more.
            (self.folder / key).rename(self.folder / f".clearing-{key}")
        self._sweep(key)

    def _sweep(self, key: str) -> None:
        """Remove what is left of making or clearing an entry. To be called with its lock held alone."""
        for name in (f".making-{key}", f".clearing-{key}"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[_Lock]:
        lock = _Lock(self.folder, key)
        try:
            yield lock
        finally:
            os.close(lock.descriptor)


class _Lock:
    """The lock of an entry, open. Its file goes with the entry, so who gets the lock of a file that is no more opens it
    again.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Raises EmulatorError."""
        self._folder = folder
        self._key = key
        self._deadline = time.monotonic() + limits.LOCK
        self.descriptor = self._opened()

    def at_once(self, kind: int) -> bool:
        """Take it unless another has it; whether it was taken. What was had of it before is lost where it was not."""
        while True:
            try:
                fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if os.fstat(self.descriptor).st_nlink:
                return True
            fresh = self._opened()
            os.dup2(fresh, self.descriptor, inheritable=False)
            os.close(fresh)

    def pause(self) -> float:
        """How long to wait before the next try: never in step with another. Raises AnswerTimeout after too many."""
        if time.monotonic() > self._deadline:
            raise AnswerTimeout(f"another run has been making the same for more than {limits.LOCK:g} s")
        return WAIT * random.uniform(0.5, 1.5)

    def remove(self) -> None:
        """Its file, while it is held alone."""
        (self._folder / f"{LOCK}{self._key}").unlink(missing_ok=True)

    def _opened(self) -> int:
        """A descriptor of the lock file; of the entry itself where a read-only disk has no such file."""
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder / f"{LOCK}{self._key}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES):
                with contextlib.suppress(OSError):
                    return os.open(folder / self._key, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            hint = "is there room, and may you write there? XDG_CACHE_HOME chooses another place"
            raise EmulatorError(f"{folder} cannot be used: {error.strerror}", hint=hint) from error


def _write_sums(folder: Path) -> None:
    """Take the hashes of an entry's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != SUMS)
    sums = {path.relative_to(folder).as_posix(): content_sha256(path) for path in files}
    (folder / f"{SUMS}.new").write_bytes(msgspec.json.encode(sums))
    (folder / f"{SUMS}.new").rename(folder / SUMS)


def _sums(folder: Path) -> dict[str, str]:
    """The hashes that an entry was made with, by name. Raises OSError, DecodeError."""
    return msgspec.json.decode((folder / SUMS).read_bytes(), type=dict[str, str])


def _intact(folder: Path) -> bool:
    """Whether all files of an entry are as they were made. One without hashes, of an older difftest, is believed."""
    try:
        if not (folder / SUMS).exists():
            _write_sums(folder)
        return all(content_sha256(folder / name) == digest for name, digest in _sums(folder).items())
    except (OSError, msgspec.DecodeError):
        return False


def scale() -> float:
    """How many times its own limit each cache may use, by DIFFTEST_CACHE_GIB, which is of all of them together. Raises
    ChoiceError.
    """
    wanted = os.environ.get(LIMIT) or str(WHOLE_GIB)
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", wanted, re.ASCII):
        raise ChoiceError(f"{LIMIT}={wanted} is no number", hint=f"GiB of all caches together, such as {WHOLE_GIB:g}")
    return float(wanted) / WHOLE_GIB


def disk_bytes(path: Path) -> int:
    """Room that a file, or a folder with all in it, takes on the disk."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)
