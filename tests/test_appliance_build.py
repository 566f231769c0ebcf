"""Building the appliance: archives, flat kernels, the boot sector. No emulator is started here."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from emulators.appliance import build, linuxboot
from emulators.appliance.cpio import CHARACTER, REGULAR, SYMLINK, Entry, archive
from emulators.target import EmulatorError


def elf(segments: list[tuple[int, bytes]], entry: int) -> bytes:
    """A 64-bit ELF file with these loadable segments (physical address, content) and one note."""
    header_bytes, entry_bytes = 64, 56
    offset = header_bytes + entry_bytes * (len(segments) + 1)
    table = struct.pack("<IIQQQQQQ", 4, 0, 0, 0, 0, 0, 0, 0)
    body = b""
    for address, data in segments:
        table += struct.pack("<IIQQQQQQ", 1, 5, offset + len(body), 0, address, len(data), len(data), 4096)
        body += data
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    numbers = struct.pack("<HHIQQQIHHH", 2, 62, 1, entry, header_bytes, 0, 0, 64, entry_bytes, len(segments) + 1)
    return (ident + numbers).ljust(header_bytes, b"\0") + table + body


def bzimage(payload: bytes) -> bytes:
    setup_sectors = 1
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x201] = 0x66
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload


VMLINUX = elf([(0x100_0000, b"text"), (0x100_2000, b"data")], entry=0x100_0000)
SIZE = struct.pack("<I", len(VMLINUX))


@pytest.mark.parametrize(
    "payload",
    [VMLINUX, gzip.compress(VMLINUX) + SIZE, lzma.compress(VMLINUX) + SIZE],
    ids=["plain", "gzip", "xz"],
)
def test_kernel_is_laid_out_at_its_physical_addresses(payload: bytes) -> None:
    flat = linuxboot.flat_kernel(bzimage(payload))
    assert (flat.address, flat.entry) == (0x100_0000, 0x100_0000)
    assert flat.image == b"text".ljust(0x2000, b"\0") + b"data"
    assert flat.setup_header[0x202 - 0x1F1 :][:4] == b"HdrS"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (bytes(4096), "no bzImage"),
        (bzimage(b"\xde\xad\xbe\xef" * 4), "unknown way"),
        (bzimage(gzip.compress(VMLINUX)[:40] + SIZE), "does not unpack"),
        (bzimage(gzip.compress(b"not ELF") + SIZE), "no 64-bit ELF"),
    ],
)
def test_what_is_no_kernel_is_refused(image: bytes, words: str) -> None:
    with pytest.raises(EmulatorError, match=words):
        linuxboot.flat_kernel(image)


def test_archive_is_read_by_cpio() -> None:
    entries = [Entry("a/b/file", b"content", REGULAR | 0o644), Entry("link", b"a", SYMLINK | 0o777)]
    listing = subprocess.run(["cpio", "-t"], input=archive(entries), capture_output=True, check=True).stdout
    assert listing.split() == [b"a", b"a/b", b"a/b/file", b"link"]


def test_archive_is_aligned_and_ends_with_its_trailer() -> None:
    data = archive([Entry("odd", b"123"), Entry("dev/null", mode=CHARACTER | 0o666, device=(1, 3))])
    assert len(data) % 4 == 0
    assert data == archive([Entry("odd", b"123"), Entry("dev/null", mode=CHARACTER | 0o666, device=(1, 3))])
    assert b"TRAILER!!!" in data[-16:]


def test_boot_sector_is_bootable(tmp_path: Path) -> None:
    sector = linuxboot.boot_sector(tmp_path)
    assert len(sector) == linuxboot.SECTOR
    assert sector[-2:] == b"\x55\xaa"


def test_appliances_that_nobody_uses_make_room(tmp_path: Path) -> None:
    day = 24 * 3600
    for number in range(12):
        (tmp_path / f"appliance{number}").mkdir()
        when = time.time() - number * day / 4
        os.utime(tmp_path / f"appliance{number}", (when, when))
    build._forget(tmp_path)
    kept = sorted(int(path.name.removeprefix("appliance")) for path in tmp_path.iterdir())
    assert kept == list(range(8)), "those of the last day and the last eight"
