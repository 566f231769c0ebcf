"""What a guest in QEMU leaves when its boot is over: memory and picture, which QEMU writes to files on its own
machine.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Mapping

import msgspec

from emulators.host.errors import EmulatorError
from emulators.host.picture import png
from emulators.observation import TEXT_BYTES
from emulators.qemu.machine import Qemu
from emulators.ram_log import HEADER, RamLog
from emulators.text_screen import TEXT_ADDRESS

TEXT, LOG, PICTURE = "text.bin", "ram-log.bin", "screen.ppm"


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an Observation of these names."""

    text_memory: bytes | None = None
    screen: bytes | None = None
    ram_log: bytes = b""


async def dump(qemu: Qemu, folder: str, log: RamLog | None) -> dict[str, str]:
    """Stop the guest, have its text memory, RAM log and picture written to files in `folder`, and return its registers.

    The commands are sent together: where QEMU's machine is an emulated one, it is the waiting for answers that costs.
    Raises EmulatorError.
    """
    _, registers, header, _, _ = await asyncio.gather(
        qemu.execute("stop"),
        qemu.registers(),
        _header(qemu, log) if log else asyncio.sleep(0, b""),
        qemu.execute("pmemsave", val=TEXT_ADDRESS, size=TEXT_BYTES, filename=f"{folder}/{TEXT}"),
        qemu.execute("screendump", filename=f"{folder}/{PICTURE}"),
    )
    if log and (length := log.length(header)):
        await qemu.execute("pmemsave", val=log.lines, size=length, filename=f"{folder}/{LOG}")
    return registers


async def read_dump(files: Mapping[str, bytes]) -> Dump:
    """What `dump` left, from the contents of its files by name. Raises EmulatorError for a picture that is none."""
    pixels = files.get(PICTURE)
    # QEMU writes PPM and it is made a PNG here: its machine may be an emulated one, where compressing is slow.
    screen = None if pixels is None else await asyncio.to_thread(_png, pixels)
    return Dump(text_memory=files.get(TEXT), screen=screen, ram_log=files.get(LOG, b""))


async def _header(qemu: Qemu, log: RamLog) -> bytes:
    said = await qemu.monitor(f"xp /{HEADER.size}xb {log.address:#x}")
    header = bytes(int(value, 16) for value in re.findall(r"\b0x([0-9a-f]{2})\b", said))
    return header if len(header) == HEADER.size else bytes(HEADER.size)


def _png(pixels: bytes) -> bytes:
    from PIL import Image  # late: no emulator waits for it to be loaded

    try:
        return png(Image.open(io.BytesIO(pixels)).convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise EmulatorError(f"QEMU's screen dump cannot be read: {error}") from error
