"""The cache of dear things: made once and whole, shared, bounded. No emulator is started here."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from emulators.host.cache import Cache
from emulators.host.errors import EmulatorError

ROOT = Path(__file__).parent.parent
MEBIBYTE = 1 << 20


def filled(folder: Path) -> None:
    (folder / "data").write_bytes(b"x" * MEBIBYTE)


async def entry(cache: Cache, key: str) -> bytes:
    async def make(folder: Path) -> None:
        filled(folder)

    async with cache.entry(key, make) as folder:
        return (folder / "data").read_bytes()[:1]


async def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path, 10 * MEBIBYTE), []

    async def make(folder: Path) -> None:
        made.append(folder)
        await asyncio.sleep(0.05)
        filled(folder)

    async def use() -> None:
        async with cache.entry("a", make) as folder:
            assert (folder / "data").stat().st_size == MEBIBYTE

    await asyncio.gather(*(use() for _ in range(5)))
    await use()
    assert len(made) == 1
    assert cache.keys() == ["a"]


async def test_what_fails_or_is_cancelled_is_no_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10 * MEBIBYTE)

    async def fails(folder: Path) -> None:
        filled(folder)
        raise EmulatorError("no")

    async def hangs(folder: Path) -> None:
        filled(folder)
        await asyncio.sleep(60)

    with pytest.raises(EmulatorError):
        async with cache.entry("a", fails):
            raise AssertionError("there is none")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), cache.entry("a", hangs):
            raise AssertionError("there is none")
    assert cache.keys() == []
    assert not list(tmp_path.glob(".making*"))
    assert await entry(cache, "a") == b"x", "nothing stays locked"


MAKES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from emulators.host.cache import Cache

async def make(folder):
    (folder / "data").write_bytes(b"half")
    print("making", flush=True)
    await asyncio.sleep(60)

async def main():
    async with Cache(Path(sys.argv[1]), 1 << 30).entry("a", make):
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize("later", ["a", "b"])
async def test_a_run_that_is_killed_leaves_no_entry_and_no_lock(tmp_path: Path, later: str) -> None:
    argv = [sys.executable, "-c", MAKES_FOR_EVER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=environment)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"making\n"
    cache = Cache(tmp_path, 10 * MEBIBYTE)
    with pytest.raises(TimeoutError):  # the other one holds it
        await asyncio.wait_for(entry(cache, "a"), 0.5)
    cache.trim(0)
    assert list(tmp_path.glob(".making-a-*")), "it is being made"
    other.kill()
    await other.wait()
    assert cache.keys() == []
    assert await entry(cache, later) == b"x"
    assert not list(tmp_path.glob(".making*")), "the next one clears up, whatever it makes"


async def test_the_longest_unused_go_first_and_none_that_is_in_use(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3 * MEBIBYTE + MEBIBYTE // 2)
    for age, key in enumerate(("c", "b", "a")):
        await entry(cache, key)
        os.utime(tmp_path / key, (1000 + age, 1000 + age))

    async def unused(folder: Path) -> None:
        raise AssertionError("it is there")

    async with cache.entry("c", unused):
        await entry(cache, "d")
        assert sorted(cache.keys()) == ["a", "c", "d"], "c was just used, b is the oldest then"
        cache.trim(0)
        assert cache.keys() == ["c"], "in use"
    cache.trim(0)
    assert cache.keys() == []
    assert not list(tmp_path.glob(".clearing*"))


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EmulatorError, match="cannot be used"):
        await entry(Cache(tmp_path / "file" / "cache", MEBIBYTE), "a")
