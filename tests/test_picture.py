"""Pictures keep their pixels."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from emulators.picture import png


@pytest.mark.parametrize(("colour", "mode"), [((170, 170, 170), "L"), ((170, 170, 171), "RGB"), ((0, 0, 255), "RGB")])
def test_every_pixel_is_kept_whether_there_are_colours_or_not(colour: tuple[int, int, int], mode: str) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    picture.putpixel((17, 3), colour)
    packed = Image.open(io.BytesIO(png(picture)))
    assert (packed.format, packed.mode) == ("PNG", mode)
    assert packed.convert("RGB").tobytes() == picture.tobytes()
