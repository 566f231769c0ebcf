"""The cache of what is expensive to make: made once, shared, bounded, checked. No emulator is started here."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from difftest.image.build import built_cases
from difftest.image.prepare import images
from emulators.bochs.program import fetched
from emulators.host import answers
from emulators.host.cache import _HELD, Cache, disk_bytes
from emulators.host.errors import ChoiceError, EmulatorError, silent
from emulators.host.files import content_sha256
from emulators.hosted.appliance.build import appliances
from emulators.hosted.appliance.kernel import kernels
from emulators.hosted.appliance.snapshot import snapshots

ROOT = Path(__file__).parent.parent
MEBIBYTE = 1 << 20


def end_runs() -> None:
    """As if what this process has used so far had been used by others, which have ended."""
    while _HELD:
        os.close(_HELD.popitem()[1])


def filled(folder: Path) -> None:
    (folder / "data").write_bytes(b"x" * MEBIBYTE)


async def entry(cache: Cache, key: str) -> bytes:
    async def make(folder: Path) -> None:
        filled(folder)

    async with cache.entry(key, make, silent) as folder:
        return (folder / "data").read_bytes()[:1]


async def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path, 10 * MEBIBYTE), []

    async def make(folder: Path) -> None:
        made.append(folder)
        await asyncio.sleep(0.05)
        filled(folder)

    async def use() -> None:
        async with cache.entry("a", make, silent) as folder:
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
        async with cache.entry("a", fails, silent):
            raise AssertionError("there is none")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), cache.entry("a", hangs, silent):
            raise AssertionError("there is none")
    assert cache.keys() == []
    assert not list(tmp_path.glob(".making*"))
    assert await entry(cache, "a") == b"x", "nothing stays locked"


MAKES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from difftest.image.build import built_cases
from difftest.image.prepare import images
from emulators.bochs.program import fetched
from emulators.host import answers
from emulators.host.cache import _HELD, Cache, disk_bytes

async def make(folder):
    (folder / "data").write_bytes(b"half")
    print("making", flush=True)
    await asyncio.sleep(60)

async def main():
    async with Cache(Path(sys.argv[1]), 1 << 30).entry("a", make, print):
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
    assert list(tmp_path.glob(".making-a")), "it is being made"
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
    end_runs()

    async def unused(folder: Path) -> None:
        raise AssertionError("it is there")

    async with cache.entry("c", unused, silent):
        await entry(cache, "d")
        assert sorted(cache.keys()) == ["a", "c", "d"], "c was just used, b is the oldest then"
        cache.trim(0)
        assert sorted(cache.keys()) == ["c", "d"], "this process may use both again"
        end_runs()
        cache.trim(0)
        assert cache.keys() == ["c"], "in use"
    cache.trim(0)
    assert cache.keys() == []
    assert not list(tmp_path.iterdir()), "the locks have gone with the entries"
    assert not list(tmp_path.glob(".clearing*"))


async def test_who_waits_for_a_lock_whose_file_has_gone_takes_the_new_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10 * MEBIBYTE)
    made: list[int] = []

    async def make(folder: Path) -> None:
        made.append(1)
        await asyncio.sleep(0.3)
        filled(folder)

    async def use() -> None:
        async with cache.entry("a", make, silent):
            await asyncio.sleep(0.05)

    async def clear_again_and_again() -> None:
        for _ in range(40):
            end_runs()
            cache.trim(0)
            await asyncio.sleep(0.02)

    await asyncio.gather(clear_again_and_again(), *(use() for _ in range(6)))
    end_runs()
    assert len(made) <= 6
    assert len(list(tmp_path.glob(".lock-*"))) <= 1


@pytest.mark.parametrize(("wanted", "most"), [("", 16), ("32", 32), ("1.6", 1.6), ("0", 0)])
def test_the_limit_of_all_caches_together_is_the_users_choice(
    wanted: str, most: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIFFTEST_CACHE_GIB", wanted)
    kinds = (snapshots, appliances, kernels, fetched, built_cases, images)
    assert sum(kind(tmp_path).most_bytes for kind in kinds) == pytest.approx(most * (1 << 30), abs=10)


@pytest.mark.parametrize("wanted", ["much", "-1", "nan", "1e9", "inf"])
def test_a_limit_that_is_no_number_is_told(wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIFFTEST_CACHE_GIB", wanted)
    with pytest.raises(ChoiceError, match="is no number"):
        Cache(tmp_path, 1)


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EmulatorError, match="cannot be used"):
        await entry(Cache(tmp_path / "file" / "cache", MEBIBYTE), "a")


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "half":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 3] ^= 1
    path.write_bytes(data)


def made_of(cache: Cache, said: list[str]) -> tuple[Path, list[Path]]:
    """An entry with a file, one below a folder and one with a hole, and the folders in which it was made."""
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        filled(folder)
        (folder / "below").mkdir()
        (folder / "below" / "more").write_bytes(b"more")
        (folder / "link").symlink_to("nothing")
        with (folder / "holes").open("wb") as file:
            file.seek(5 * MEBIBYTE)
            file.write(b"behind a hole" * 1000)

    return cache.hold("some-key", make, said.append), made


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *itertools.product(["data", "below/more", "holes"], ["empty", "half", "a bit", "gone"]),
        *itertools.product([".sums"], ["empty", "half", "a bit"]),
    ],
)
def test_what_is_damaged_is_told_and_made_again(
    tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SETTLED_SECONDS", -1.0)
    cache, said = Cache(tmp_path / "cache", 100 * MEBIBYTE), list[str]()
    place, made = made_of(cache, said)
    assert made and made_of(cache, said) == (place, []), "made once"
    (place / name).unlink() if how == "gone" else damage(place / name, how)
    assert made_of(cache, said)[1], "made again"
    assert said == [f"{place} is damaged: it is made again"]
    assert (place / "data").stat().st_size == MEBIBYTE and (place / "below" / "more").read_bytes() == b"more"
    assert not list((tmp_path / "cache").glob(".making*")) + list((tmp_path / "cache").glob(".clearing*"))


def test_whole_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SETTLED_SECONDS", -1.0)
    cache = Cache(tmp_path / "cache", 100 * MEBIBYTE)
    made_of(cache, [])
    made_of(cache, [])

    def read(path: Path) -> str:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr("emulators.host.cache.content_sha256", read)
    made_of(cache, [])


def test_a_check_reads_everything_and_clears_what_is_damaged(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100 * MEBIBYTE)
    for key in ("whole", "damaged"):
        cache.hold(key, filled, silent)
    os.close(_HELD.pop(cache.folder / "damaged"))  # as if another process had made it
    assert cache.check() == []
    data = cache.folder / "damaged" / "data"
    before = data.stat()
    damage(data, "a bit")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.check() == ["damaged"] and cache.keys() == ["whole"]


def test_an_entry_of_an_older_difftest_is_used_as_it_is(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100 * MEBIBYTE)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "data").write_bytes(b"old")

    def unused(folder: Path) -> None:
        raise AssertionError("it is there")

    assert (cache.hold("old", unused, silent) / "data").read_bytes() == b"old"


def test_an_entry_on_a_disk_that_takes_nothing_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache", 100 * MEBIBYTE)
    made_of(cache, [])
    opened = os.open

    def refused(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    assert made_of(cache, [])[1] == []
    with pytest.raises(EmulatorError, match="Read-only") as caught:
        cache.hold("another", filled, silent)
    assert caught.value.hint


def test_holes_do_not_change_a_hash(tmp_path: Path) -> None:
    holes, zeros = tmp_path / "holes", tmp_path / "zeros"
    with holes.open("wb") as file:
        file.seek(MEBIBYTE)
        file.write(b"end")
    zeros.write_bytes(bytes(MEBIBYTE) + b"end")
    assert content_sha256(holes) == content_sha256(zeros)
    assert disk_bytes(holes) < disk_bytes(zeros)
    zeros.write_bytes(bytes(MEBIBYTE - 1) + b"\1end")
    assert content_sha256(holes) != content_sha256(zeros)
    zeros.write_bytes(bytes(MEBIBYTE) + b"end" + bytes(1))
    assert content_sha256(holes) != content_sha256(zeros)


def test_what_is_held_is_not_cleared_while_the_process_lives(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from emulators.host.cache import Cache\n"
        "Cache(Path(sys.argv[1]), 1).hold('a-b', lambda folder: None, print); print('held', flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        cache = Cache(tmp_path, 1)
        cache.trim(0)
        assert cache.keys() == ["a-b"]
        other.kill()
    cache.trim(0)
    assert cache.keys() == []
