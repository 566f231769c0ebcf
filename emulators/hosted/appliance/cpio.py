"""Writing newc cpio archives, the format of a Linux initramfs. Same content, same bytes: no times, no owners."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

DIRECTORY, REGULAR, SYMLINK, CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000


class ArchiveEntry(msgspec.Struct, frozen=True):
    """A file to be: `path` without a leading slash; `data` is the content, or a symbolic link's target."""

    path: str
    data: bytes = b""
    mode: int = REGULAR | 0o755
    device: tuple[int, int] = (0, 0)


def archive(entries: Iterable[ArchiveEntry]) -> bytes:
    """The archive's bytes. Folders that files lie in are made."""
    out = bytearray()
    known: set[str] = set()
    number = 0

    def add(entry: ArchiveEntry) -> None:
        nonlocal number
        number += 1
        name = entry.path.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        out.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(entry.data)
        out.extend(b"\0" * (-len(out) % 4))

    for entry in entries:
        for parent in reversed(PurePosixPath(entry.path).parents):
            folder = str(parent)
            if folder != "." and folder not in known:
                known.add(folder)
                add(ArchiveEntry(folder, mode=DIRECTORY | 0o755))
        if entry.mode & 0o170000 == DIRECTORY:
            if entry.path in known:
                continue
            known.add(entry.path)
        add(entry)
    number = -1
    add(ArchiveEntry("TRAILER!!!", mode=0))
    return bytes(out)
