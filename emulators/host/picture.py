"""Pictures of screens as PNG."""

from __future__ import annotations

import io
from itertools import chain
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from PIL import Image

MOST_COLOURS = 256  # that a palette has


def png(picture: Image.Image) -> bytes:
    """An RGB picture as PNG, the same pixel by pixel; with a palette where that will do, which is a third of the
    work.
    """
    from PIL import Image  # late: no emulator waits for it to be loaded

    if colours := picture.getcolors(MOST_COLOURS):
        palette = Image.new("P", (1, 1))
        palette.putpalette(list(chain.from_iterable(cast(tuple[int, int, int], colour) for _, colour in colours)))
        indexed = picture.quantize(palette=palette, dither=Image.Dither.NONE)
        # Pillow takes colours that are all but the same for one.
        picture = indexed if indexed.convert("RGB").tobytes() == picture.tobytes() else picture
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=1)  # a text screen is small anyway
    return packed.getvalue()
