"""Pictures keep their pixels."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from emulators.host.picture import png


def greys() -> Image.Image:
    return Image.linear_gradient("L").convert("RGB")


def rainbow() -> Image.Image:
    return Image.merge("RGB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)])


def text_screen() -> Image.Image:
    picture = Image.new("RGB", (720, 400))
    for place, colour in enumerate(
        [(168, 168, 168), (84, 252, 252), *((168 * (n >> 2 & 1), 168 * (n >> 1 & 1), 168 * (n & 1)) for n in range(8))]
    ):
        picture.paste(colour, (place * 9, 16, place * 9 + 8, 31))
    return picture


@pytest.mark.parametrize(("picture", "mode"), [(text_screen(), "P"), (greys(), "RGB"), (rainbow(), "RGB")])
def test_every_pixel_is_kept_however_many_colours_there_are_and_however_alike(picture: Image.Image, mode: str) -> None:
    packed = Image.open(io.BytesIO(png(picture)))
    assert (packed.format, packed.mode) == ("PNG", mode)
    assert packed.convert("RGB").tobytes() == picture.tobytes()
