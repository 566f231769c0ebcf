"""The screen of a QEMU that is spoken to over QMP: QEMU writes it to files on its machine, which are fetched or summed there."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable

from PIL import Image

from emulators.observation import TEXT_BYTES
from emulators.qemu import Qemu
from emulators.target import EmulatorError
from emulators.text_screen import TEXT_ADDRESS

Fetch = Callable[[str], Awaitable[bytes]]  # reads a file on the machine that QEMU runs on


class QemuScreen:
    """See emulators.text_screen.Screen; may also be asked while the guest is stopped."""

    def __init__(self, qemu: Qemu, folder: str, fetch: Fetch, sum_up: Fetch | None = None) -> None:
        """Files go to `folder` on QEMU's machine. `sum_up` answers with a file's checksum, where that is cheaper than `fetch`."""
        self._qemu = qemu
        self._folder = folder
        self._fetch = fetch
        self._sum_up = sum_up or fetch

    async def glance(self) -> bytes:
        return hashlib.sha256(await self._sum_up(await self._dump("glance.ppm"))).digest()

    async def text(self) -> bytes:
        path = f"{self._folder}/text.bin"
        await self._qemu.execute("pmemsave", val=TEXT_ADDRESS, size=TEXT_BYTES, filename=path)
        return await self._fetch(path)

    async def picture(self) -> bytes:
        """The VGA screen as PNG.

        QEMU writes it as PPM and it is made a PNG here: its machine may be an emulated one, where compressing is dear.
        """
        return await asyncio.to_thread(_png, await self._fetch(await self._dump("screen.ppm")))

    async def _dump(self, name: str) -> str:
        path = f"{self._folder}/{name}"
        await self._qemu.execute("screendump", filename=path)
        return path


def _png(pixels: bytes) -> bytes:
    png = io.BytesIO()
    try:
        Image.open(io.BytesIO(pixels)).save(png, "PNG")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise EmulatorError(f"QEMU's screen dump cannot be read: {error}") from error
    return png.getvalue()
