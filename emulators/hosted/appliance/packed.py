"""The near end of pack.c: files that come out of the appliance in one stream."""

from __future__ import annotations

import re
import zlib

from emulators.host.errors import EmulatorError

MOST_BYTES = 64 << 20  # of all files together: a picture of the largest VGA mode, and more
MOST_ROWS = 65535
LINE = re.compile(rb"([\w.-]{1,255}) (\d{1,9}) (\d{1,9}) (\d{1,9})\n")
CHECKSUM_BYTES = 4


def unpacked(packed: bytes, most: int = MOST_BYTES) -> dict[str, bytes]:
    """The files by name. Raises EmulatorError when the stream is broken, or holds more than `most` bytes."""
    stream = _inflated(packed, most)
    files: dict[str, bytes] = {}
    at = whole = 0
    while at < len(stream):
        if (line := LINE.match(stream, at)) is None:
            raise _broken("a line that is none")
        size, head, stride = int(line[2]), int(line[3]), int(line[4])
        whole += size
        if whole > most:
            raise _broken("too much")
        at = line.end() + head
        parts = [stream[line.end() : at]]
        missing = size - head
        if missing < 0 or at > len(stream) or (missing and not 0 < missing <= stride * MOST_ROWS):
            raise _broken("sizes that cannot be")
        while missing:
            row, at = stream[at + 2 : at + 2 + stride], at + 2 + stride
            if at > len(stream):
                raise _broken("rows are missing")
            rows = int.from_bytes(stream[at - stride - 2 : at - stride], "little")
            if not 0 < rows * stride <= missing:
                raise _broken("another number of rows")
            parts.append(row * rows)
            missing -= rows * stride
        files[line[1].decode("ascii")] = b"".join(parts)
    return files


def _inflated(packed: bytes, most: int) -> bytes:
    body, checksum = packed[:-CHECKSUM_BYTES], packed[-CHECKSUM_BYTES:]
    if zlib.crc32(body) != int.from_bytes(checksum, "little") or len(checksum) < CHECKSUM_BYTES:
        raise _broken("another checksum")
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        stream = inflate.decompress(body, most)
    except zlib.error as error:
        raise _broken(str(error)) from error
    if not inflate.eof or inflate.unused_data:
        raise _broken("too much, or not all")
    return stream


def _broken(why: str) -> EmulatorError:
    return EmulatorError("what was fetched did not come whole out of the appliance", evidence=why)
