"""The parameter block of images that are built with the kit: which checks run, and where their lines go.

16 bytes   DIFFTEST-PARAMS, a zero
u32        version, 2
u32        number of checks in the image
64 bytes   a bit for each check, set where it is to run
u32        where lines go: 0 to COM1, 1 to the RAM log
u32, u32   the RAM log: physical address, bytes in all
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from difftest.atomic import write
from difftest.errors import BuildError, refusal
from emulators.ram_log import HEADER, RamLog

MAGIC = b"DIFFTEST-PARAMS\0"
VERSION = 2
MOST_BYTES = 1 << 20  # of a RAM log: more than what a serial port may say
LAYOUT = struct.Struct("<16sII64sIII")


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter block, and `start`, where it lies in its image."""

    start: int
    count: int
    selected: bytes
    in_ram: bool
    ram_log: RamLog

    def put_into(self, image: bytes) -> bytes:
        log = self.ram_log
        fields = MAGIC, VERSION, self.count, self.selected, int(self.in_ram), log.address, log.most + HEADER.size
        return image[: self.start] + LAYOUT.pack(*fields) + image[self.start + LAYOUT.size :]

    def only(self, indices: Iterable[int]) -> Params:
        """The same with only the checks of these numbers switched on. Raises BuildError when there are not as many."""
        indices = list(indices)
        if wrong := [index for index in indices if not 0 <= index < self.count]:
            raise BuildError(f"the image has {self.count} checks, and none with the number {wrong[0]}")
        bits = bytearray(len(self.selected))
        for index in indices:
            bits[index // 8] |= 1 << index % 8
        return msgspec.structs.replace(self, selected=bytes(bits))


def params_of(image: bytes) -> Params:
    """The block of an image. Raises BuildError when it has none, or one of another version."""
    start = image.find(MAGIC)
    if image.count(MAGIC) != 1 or start + LAYOUT.size > len(image):
        raise BuildError("the image has no parameter block", hint="only cases built with the kit can run a selection")
    _, version, count, selected, in_ram, address, size = LAYOUT.unpack_from(image, start)
    if version != VERSION:
        raise BuildError(
            f"the image's parameter block has version {version}, not {VERSION}", hint="build the image again"
        )
    if not HEADER.size < size <= MOST_BYTES:
        raise BuildError(f"the image speaks of a RAM log of {size} bytes", hint=f"at most {MOST_BYTES}")
    log = RamLog(address=address, most=size - HEADER.size)
    return Params(start=start, count=count, selected=selected, in_ram=bool(in_ram), ram_log=log)


def select_checks(image: bytes, indices: Iterable[int]) -> bytes:
    """The image with only these checks (numbers as in `BuiltImage.checks`) switched on. Raises BuildError."""
    return params_of(image).only(indices).put_into(image)


def speaking(image: bytes) -> bytes:
    """The image with all its lines going to COM1. One without a parameter block stays what it is."""
    try:
        params = params_of(image)
    except BuildError:
        return image
    return msgspec.structs.replace(params, in_ram=False).put_into(image)


def with_ram_log(image: Path) -> tuple[Path, str, RamLog]:
    """A copy of a built image that leaves its lines in RAM, beside it; its hash; and where they lie. Raises
    BuildError.
    """
    data = image.read_bytes()
    params = msgspec.structs.replace(params_of(data), in_ram=True)
    return *_beside(image, "ram-log", params.put_into(data)), params.ram_log


def selection(image: Path, numbers: Sequence[int], *, in_ram: bool = True) -> tuple[Path, str]:
    """A copy of an image with only these checks switched on, beside it, and its hash. `in_ram`: it leaves its lines
    where the image does; else it sends them to COM1. Raises BuildError.
    """
    selected = select_checks(image.read_bytes(), numbers)
    return _beside(image, "selection", selected if in_ram else speaking(selected))


def _beside(image: Path, kind: str, data: bytes) -> tuple[Path, str]:
    digest = hashlib.sha256(data).hexdigest()
    path = image.with_name(f"{kind}-{digest[:16]}.img")
    if not path.exists():
        try:
            write(path, data)
        except OSError as error:
            raise refusal(error, f"cannot write {path}: {error.strerror}", hint="is the disk full?") from error
    return path, digest
