"""Files of a run: written whole or not at all, read back with suspicion."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from difftest.errors import StoreError, refusal
from difftest.text import visible

LARGEST_JSON = 64 << 20
NO_RUN = "is this the folder of a run?"
T = TypeVar("T")


def file_name(name: str) -> str:
    """A name from a manifest or a log as one harmless path component. Names that differ give components that differ."""
    name = _encodable(name)  # the same file before it was written as JSON and after it was read back
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        return name
    harmless = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80].lstrip(".-")
    return f"{harmless or '_'}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def encode(value: Any) -> bytes:
    """Any msgspec value as JSON that people can read."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # unpaired surrogates: a file name or an emulator's words that were not UTF-8
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(value)))
    return msgspec.json.format(data, indent=1)


def _encodable(value: Any) -> Any:
    """Builtins with every string such that UTF-8 can hold it."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


@contextlib.contextmanager
def writing(where: Path) -> Iterator[None]:
    """What the disk refuses becomes a DiskError, what is wrong with the name a StoreError."""
    try:
        yield
    except OSError as error:
        path = error.filename or where
        hint = "is the disk full, or read-only? `--results` chooses another place"
        raise refusal(error, f"cannot write {path}: {error.strerror or error}", hint=hint) from error


def write(path: Path, data: bytes) -> None:
    """Write a file so that at any moment there is the old one, or the whole new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class UnfitError(Exception):
    """What is there is no regular file, or is too large."""


def contents(path: Path, largest: int, flags: int = 0) -> bytes:
    """A regular file, whole. `flags` are further ones to open it with. Raises OSError and UnfitError."""
    # Without O_NONBLOCK opening a FIFO would wait for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise UnfitError("not a file")
        if facts.st_size > largest:
            raise UnfitError(f"larger than {largest} bytes")
        return file.read(largest)


def read(root: Path, path: Path, largest: int) -> bytes:
    """A regular file of the run, whole. Neither a link out of the run nor a pipe put in a file's place is followed."""
    try:
        if not path.resolve(strict=True).is_relative_to(root):
            raise StoreError(f"{path}: leads out of the run's folder", hint="runs contain no links: do not trust it")
        return contents(path, largest, os.O_NOFOLLOW)
    except UnfitError as error:
        raise StoreError(f"{path}: {error}", hint="no run of difftest has such a file there") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        words = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise refusal(error, words, hint=NO_RUN) from error


def read_json(root: Path, path: Path, kind: type[T]) -> T:
    """A JSON file of the run at `root` as `kind`. Raises StoreError with the place that does not fit."""
    try:
        return msgspec.json.decode(read(root, path, LARGEST_JSON), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{path}: {visible(str(error), 300)}", hint="the file was changed or is not whole") from error
