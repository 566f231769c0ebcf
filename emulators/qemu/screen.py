"""The screen of a QEMU that is spoken to over QMP: QEMU writes it to files on its machine, which are fetched or summed
there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from emulators.observation import TEXT_BYTES
from emulators.qemu.machine import Qemu
from emulators.text_screen import TEXT_ADDRESS

Fetch = Callable[[str], Awaitable[bytes]]  # reads a file on the machine that QEMU runs on


class QemuScreen:
    """See emulators.text_screen.Screen."""

    def __init__(self, qemu: Qemu, folder: str, fetch: Fetch, sum_up: Fetch | None = None) -> None:
        """Files go to `folder` on QEMU's machine. `sum_up` answers with a file's checksum, where that is cheaper than
        `fetch`.
        """
        self._qemu = qemu
        self._folder = folder
        self._fetch = fetch
        self._sum_up = sum_up or fetch

    async def glance(self) -> bytes:
        path = f"{self._folder}/glance.ppm"
        await self._qemu.execute("screendump", filename=path)
        return hashlib.sha256(await self._sum_up(path)).digest()

    async def text(self) -> bytes:
        path = f"{self._folder}/glance.bin"
        await self._qemu.execute("pmemsave", val=TEXT_ADDRESS, size=TEXT_BYTES, filename=path)
        return await self._fetch(path)
