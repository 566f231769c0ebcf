"""What a guest in QEMU leaves, from the files that QEMU wrote. A real QEMU writes them in test_boots and
test_hosted.
"""

from __future__ import annotations

import io

import pytest
from PIL import Image

from emulators.host.errors import EmulatorError
from emulators.qemu.dump import LOG, PICTURE, TEXT, Dump, read_dump

PPM = b"P6 2 1 255\n" + bytes([0, 0, 0, 168, 168, 168])


async def test_files_become_the_fields_of_an_observation() -> None:
    left = await read_dump({TEXT: b"text", LOG: b"lines", PICTURE: PPM, "qemu.log": b""})
    assert (left.text_memory, left.ram_log) == (b"text", b"lines")
    assert left.screen is not None and Image.open(io.BytesIO(left.screen)).convert("RGB").getpixel((1, 0)) == (
        168,
        168,
        168,
    )


async def test_what_was_not_written_is_not_made_up() -> None:
    assert await read_dump({"qemu.log": b"gone"}) == Dump()


@pytest.mark.parametrize("pixels", [b"", b"P6", b"P6 99999 99999 255\n", b"\x89PNG"])
async def test_a_picture_that_is_none_is_told(pixels: bytes) -> None:
    with pytest.raises(EmulatorError, match="cannot be read"):
        await read_dump({PICTURE: pixels})
