"""A guest that says nothing but gets on with its work is waited for; one that only waits, or repeats itself, is not."""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difftest.case.case import of_image
from difftest.image.prepare import prepare
from emulators.bochs.target import Bochs
from emulators.host.errors import EmulatorError
from emulators.host.memory import PAGE, TICKS, ram_address, ram_address_by, ram_digest
from emulators.hosted.appliance.assembler import DIGEST_SOURCE, compiled
from emulators.hosted.target import KvmHosted
from emulators.observation import Boot, Ending, Limits, Machine
from emulators.qemu.target import Tcg
from emulators.qemu.vcpus import CpuShare, parsed_state
from emulators.target import Target
from emulators.watch import End, GuestState, Watch, first

from .guests import HALT, boot_sector

SIZE = 64 << 20
QUIET = 0.4
# Some seconds of work: turns of a loop that leave nothing but a count in memory.
TURNS = {"bochs": 60_000_000, "tcg": 2_000_000_000, "kvm-hosted": 300_000_000}
WORK = "xorw %ax, %ax; movw %ax, %ds; movl ${turns}, %ecx; 7: movl %ecx, 0x9000; decl %ecx; jnz 7b\n"


class Guest:
    """One whose memory has these contents, one after the other, and again."""

    def __init__(self, *contents: bytes, idle: bool = False) -> None:
        self.contents = list(contents)
        self.idle = idle
        self.looks = 0

    async def look(self) -> GuestState:
        self.looks += 1
        if not self.contents:
            raise EmulatorError("cannot be looked at")
        return GuestState(self.contents[self.looks % len(self.contents)], self.idle)


async def watched(guest: Guest) -> End:
    watch = Watch(Boot(image=Path("x"), image_sha256="", limits=Limits(quiet=QUIET, total=3 * QUIET)))
    return await first(watch.progress(guest.look), watch.deadlines())


async def test_a_host_that_is_slow_to_look_is_given_time() -> None:
    """The second look, which shows progress, comes when the guest has been silent for longer than it may."""
    guest = Guest(*NUMBERS)
    plain = guest.look

    async def slow() -> GuestState:
        await asyncio.sleep(0.6 * QUIET)
        return await plain()

    guest.look = slow  # type: ignore[method-assign]
    assert (await watched(guest))[0] == Ending.TOTAL


NUMBERS = [b"%d" % number for number in range(100)]


@pytest.mark.parametrize(
    ("guest", "ending"),
    [
        (Guest(b"one"), Ending.QUIET),
        (Guest(b"one", b"two"), Ending.QUIET),
        (Guest(*NUMBERS, idle=True), Ending.QUIET),
        (Guest(), Ending.QUIET),
        (Guest(*NUMBERS), Ending.TOTAL),
    ],
    ids=["still", "repeats itself", "waits for interrupts", "unseen", "works"],
)
async def test_silence_is_the_end_of_a_guest_that_makes_no_progress(guest: Guest, ending: Ending) -> None:
    seen = await watched(guest)
    assert seen[0] == ending, seen
    assert guest.looks
    assert ("its memory still changes" in seen[1]) is (ending == Ending.TOTAL)


@pytest.fixture
def ram() -> mmap.mmap:
    """A mapping of its own, as the guest's RAM is."""
    return mmap.mmap(-1, SIZE + 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def test_a_digest_is_of_all_that_is_in_memory_but_the_count_of_ticks(ram: mmap.mmap) -> None:
    begin = ctypes.addressof(ctypes.c_char.from_buffer(ram))

    def digest() -> bytes:
        return ram_digest(os.getpid(), begin, SIZE)

    seen = [digest()]
    for place, new in ((1, True), (SIZE - 1, True), (TICKS, False), (TICKS + 3, False), (TICKS - 1, True)):
        ram[place] ^= 1
        seen.append(digest())
        assert (seen[-1] not in seen[:-1]) is new, hex(place)
    before = resident()
    digest()
    assert resident() - before < SIZE // 2, "pages that are not there are not made"


def test_ram_is_found_by_its_first_page(ram: mmap.mmap) -> None:
    begin = ctypes.addressof(ctypes.c_char.from_buffer(ram))
    page = os.urandom(PAGE)
    ram[PAGE : 2 * PAGE] = page
    assert ram_address_by(os.getpid(), SIZE, page) == begin + PAGE
    ram[3 * PAGE : 4 * PAGE] = page
    for unfit in (page, os.urandom(PAGE)):
        with pytest.raises(OSError, match="times in process"):
            ram_address_by(os.getpid(), SIZE, unfit)
    with pytest.raises(OSError, match="no mapping"):
        ram_address(os.getpid(), 1 << 46)


def test_ram_that_has_a_mapping_for_itself_is_found_by_its_size() -> None:
    """In a process that has no other of that size, as a test's own may have."""
    child = f"import ctypes, mmap\nram = mmap.mmap(-1, {SIZE}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    child += "print(ctypes.addressof(ctypes.c_char.from_buffer(ram)), flush=True); input()\n"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        begin = int(process.stdout.readline())
        found = ram_address(process.pid, SIZE)
        process.stdin.close()
    assert found <= begin < found + SIZE


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
def test_the_appliance_sees_the_same_changes(tmp_path: Path) -> None:
    program = tmp_path / "digest-program"
    program.write_bytes(compiled(DIGEST_SOURCE, tmp_path))
    program.chmod(0o700)
    child = "import mmap\nram = mmap.mmap(-1, 1 << 33, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    child += "while True: print('ready', flush=True); exec(input())\n"
    with subprocess.Popen(
        ["python3", "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        seen = []
        for change in ("0", "0", "ram[1] = 1", f"ram[{TICKS}] = 1", "ram[-1] = 1"):
            assert process.stdout.readline() == "ready\n"
            process.stdin.write(f"{change}\n")
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("0\n")
            argv = [program, str(process.pid), str(1 << 33)]
            seen.append(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        process.kill()
    assert seen[0] == seen[1] and seen[2] == seen[3]
    assert len(set(seen)) == 3 and all(one.strip().isdigit() for one in seen)


def test_cpus_are_idle_that_mostly_sleep() -> None:
    share = CpuShare()
    assert not share.idle(10.0, [1.0, 1.0]), "nobody knows yet"
    assert share.idle(11.0, [1.1, 1.2])
    assert not share.idle(12.0, [1.1, 1.6])
    assert not share.idle(12.0, [1.1, 1.6]), "no time has passed"
    assert parsed_state(share, "13.0\n1100000000\n1600000000\n1234\n") == GuestState(b"1234", True)
    with pytest.raises(EmulatorError):
        parsed_state(share, "sh: syntax error")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.boots
@pytest.mark.parametrize("target", [Bochs(), Tcg()], ids=lambda target: target.name)
async def test_a_guest_at_work_is_waited_for(target: Target, tmp_path: Path) -> None:
    await works_and_speaks(target, tmp_path)


@pytest.mark.hosted
async def test_a_guest_at_work_under_hosted_kvm_is_waited_for(tmp_path: Path) -> None:
    target = KvmHosted()
    target.prepare(lambda line: None)
    await works_and_speaks(target, tmp_path)


async def works_and_speaks(target: Target, folder: Path) -> None:
    """Longer than it may be quiet. Then it halts, which is seen at once."""
    image = boot_sector(folder, b"done\n", HALT, before=WORK.replace("{turns}", str(TURNS[target.name])))
    made = prepare(of_image(image), folder)
    limits = Limits(quiet=2, total=60)
    boot = Boot(image=made.image, image_sha256=made.sha256, limits=limits, machine=Machine(memory_mib=64))
    begun = time.monotonic()
    async with target.session([boot], lambda line: None) as session:
        seen = await session.boot(boot)
    assert (seen.serial, seen.ending) == (b"done\n", Ending.HALTED), f"{seen.detail} {seen.seconds}"
    assert seen.seconds["first byte on the serial port"] > limits.quiet, "else nothing is tested"
    assert time.monotonic() - begun < limits.total * 4
