"""X servers that are lent from one Bochs to the next."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image, ImageChops, ImageGrab

from emulators.bochs.program import installed
from emulators.bochs.target import Bochs
from emulators.bochs.xvfb import Display, Displays, xvfb
from emulators.hosted.host_cpu import HostCpu
from emulators.observation import Observation

from .guests import HALT, SHOW, boot_sector
from .test_boots import boot

pytestmark = pytest.mark.boots


async def _ended(display: Display) -> bool:
    return await display.server.wait_for(5) is not None


def _alike(one: Observation, other: Observation) -> bool:
    """But for the cursor, which blinks."""
    first, second = (Image.open(io.BytesIO(seen.screen or b"")) for seen in (one, other))
    left, top, right, bottom = ImageChops.difference(first, second).getbbox() or (0, 0, 0, 0)
    return first.size == second.size and right - left <= 9 and bottom - top <= 2


async def test_one_that_comes_back_is_lent_again_and_two_at_once_are_two() -> None:
    displays = Displays()
    async with displays.reused():
        async with displays.lent() as first, displays.lent() as second:
            assert first.name != second.name
        async with displays.lent() as again, displays.lent() as another:
            assert {again.name, another.name} == {first.name, second.name}
        assert first.server.returncode is None
    assert await _ended(first) and await _ended(second)


async def test_who_has_no_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("XAUTHORITY")
    async with xvfb() as first, xvfb() as second:
        for display in (first, second):
            await asyncio.to_thread(ImageGrab.grab, xdisplay=display.name)
        ours = Path(os.environ["XAUTHORITY"])
        assert ours.parent.stat().st_mode & 0o077 == 0, "no other user reads it"
        monkeypatch.setenv("XAUTHORITY", "/dev/null")
        with pytest.raises(OSError, match="X connection failed"):
            await asyncio.to_thread(ImageGrab.grab, xdisplay=first.name)
        monkeypatch.setenv("XAUTHORITY", str(ours))
    assert os.environ.get("XAUTHORITY") == before and not ours.exists()


def test_what_a_server_uses_is_told_once() -> None:
    server = Mock(cpu_seconds=Mock(side_effect=[0.5, 0.75]))
    display = Display(":7", server)
    assert (display.cpu_seconds(), display.cpu_seconds()) == (0.5, 0.25)


async def test_nothing_outlives_its_use_where_nobody_keeps_it() -> None:
    displays = Displays()
    async with displays.lent() as display:
        assert display.server.returncode is None
    assert await _ended(display)
    async with displays.reused():
        pass
    async with displays.lent() as later:
        pass
    assert await _ended(later), "nor behind a context that kept"


async def test_a_server_that_died_or_on_which_something_broke_is_not_lent_again() -> None:
    displays = Displays()
    async with displays.reused():
        async with displays.lent() as first:
            pass
        os.kill(first.server.pid, signal.SIGKILL)
        assert await _ended(first)
        async with displays.lent() as second:
            assert second.server.pid != first.server.pid and second.server.returncode is None
        with pytest.raises(RuntimeError):
            async with displays.lent() as third:
                raise RuntimeError
        async with displays.lent() as fourth:
            assert third.name == second.name != fourth.name


async def test_a_guest_leaves_nothing_on_the_screen_for_the_next(tmp_path: Path) -> None:
    """The first has words on its screen, the next has none."""
    bochs = Bochs()
    shows, silent = (tmp_path / name for name in ("shows", "silent"))
    for folder in (shows, silent):
        folder.mkdir()
    alone = await boot(bochs, boot_sector(silent, b"silent", HALT))
    async with bochs.sharing():
        shown = await boot(bochs, boot_sector(shows, b"shows", HALT, before=SHOW))
        (display,) = bochs.displays._idle
        assert await asyncio.to_thread(lambda: ImageGrab.grab(xdisplay=display.name).getbbox()) is None, (
            "all black again"
        )
        behind = await boot(bochs, boot_sector(silent, b"silent", HALT))
        assert [display] == bochs.displays._idle
    assert not _alike(shown, alone)
    assert _alike(behind, alone)


async def test_nested_users_share_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference and the CPU under KVM, each of which asks for them to be reused."""
    displays = Displays()
    async with displays.reused():
        async with displays.reused(), displays.lent() as first:
            pass
        async with displays.lent() as second:
            assert second is first and second.server.returncode is None
    assert first.server.returncode is not None
    assert HostCpu(lambda say: installed(), None, "m", Path(), chosen=False).displays is Bochs().displays
