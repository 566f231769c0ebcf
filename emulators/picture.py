"""Pictures of screens as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def png(picture: Image.Image) -> bytes:
    """An RGB picture as PNG, the same pixel by pixel; in greys where it has no colours, which is a third of the work."""
    grey = picture.convert("L")
    if grey.convert("RGB").tobytes() == picture.tobytes():
        picture = grey
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=1)  # a text screen is small anyway
    return packed.getvalue()
