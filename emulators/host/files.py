"""Small file work that every emulator module needs."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from emulators.host.answers import hashed
from emulators.host.errors import EmulatorError
from emulators.host.tools import ran, tail

SMALL = 4 << 20  # bytes of an image whose holes are not worth starting cp for
BLOCK = 128 << 10  # bytes that a file is looked at in for holes
HEAD_AND_TAIL = 256 << 10  # bytes kept of either end of a log


def cache_folder() -> Path:
    """Where this user's kernels, appliances, other Bochs and built images are kept."""
    return _cache_folder(os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"))


@functools.cache
def _cache_folder(*_: str | None) -> Path:
    """In an environment that says this."""
    return platformdirs.user_cache_path("difftest")


@contextlib.contextmanager
def writing_below(folder: Path, what: str) -> Iterator[None]:
    """What the disk refuses becomes an EmulatorError that says where there is no room."""
    try:
        yield
    except OSError as error:
        raise EmulatorError(
            f"cannot keep {what}: {error.strerror or error}", hint=f"is there room in {folder}?"
        ) from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """A hash of a file that may have holes: of its blocks that are not all zeros, and their places. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(b"%d" % size)
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError as error:
                if error.errno != errno.ENXIO:  # nothing but a hole
                    raise
                break
            if (block := os.pread(file.fileno(), BLOCK, at)).count(0) < len(block):
                digest.update(b" %d " % at + block)
            at += BLOCK
    return digest.hexdigest()


def sha256_cached(path: Path) -> str:
    """The hash of a file that others install (firmware, an emulator), computed again when the file has changed. Raises
    OSError.
    """
    return hashed(cache_folder(), path, sha256)


def private_copy(source: Path, target: Path) -> None:
    """Copy an image, holes and all. Raises EmulatorError when the disk is full or the source is gone."""
    with contextlib.suppress(OSError):  # cp says it better
        if source.stat().st_size <= SMALL:
            shutil.copyfile(source, target)
            return
    done = ran(["cp", "--sparse=always", "--reflink=auto", "--", source, target])
    if done.returncode:
        raise EmulatorError(
            f"cannot copy {source}", hint=f"is there room in {target.parent}?", evidence=tail(done.stderr)
        )


def read_log(path: Path, start: int = 0) -> bytes:
    """A log's bytes from a place on, of many its ends (see `ends`)."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return _ends(file, path.stat().st_size - start)
    except FileNotFoundError:
        return b""


def ends(said: bytes) -> bytes:
    """Of many bytes the head and the tail, with a line between that says how much is missing."""
    return _ends(io.BytesIO(said), len(said))


def _ends(file: BinaryIO, size: int) -> bytes:
    if size <= 2 * HEAD_AND_TAIL:
        return file.read()
    head = file.read(HEAD_AND_TAIL)
    file.seek(-HEAD_AND_TAIL, os.SEEK_END)
    return head + b"\n... %d bytes left out ...\n" % (size - 2 * HEAD_AND_TAIL) + file.read()
