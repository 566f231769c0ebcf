"""A guest's CPUs are asked nothing while they may be running: only what their threads do is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from emulators.host.limits import AnswerTimeout
from emulators.observation import Boot, Ending, Limits
from emulators.qemu.machine import IdleProbes, Qemu
from emulators.qemu.vcpus import ThreadEnd, asleep, asleep_command, slept, spare
from emulators.watch import GuestState, Watch

LINES = ["S 1000 2000 3", "S 5 6 7"]


@contextlib.contextmanager
def process(source: str) -> Iterator[int]:
    started = subprocess.Popen([sys.executable, "-c", f"print(1, flush=True)\n{source}"], stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None and started.stdout.readline() == b"1\n"
        time.sleep(0.1)
        yield started.pid
    finally:
        started.kill()
        started.communicate()


async def unseen(threads: Sequence[int]) -> GuestState:
    raise OSError("there is no process")


def by_shell(threads: Sequence[int]) -> bool:
    said = subprocess.run(["busybox", "sh", "-c", asleep_command(threads)], capture_output=True, text=True, check=False)
    assert said.stderr == ""
    return slept(said.stdout, len(threads))


@pytest.mark.parametrize(
    ("source", "sleeps"),
    [
        ("import time; time.sleep(60)", True),
        ("while True: pass", False),
        ("import time\nwhile True: time.sleep(0.001)", False),
    ],
    ids=["sleeps", "works", "works now and then"],
)
async def test_a_thread_sleeps_that_was_not_put_on_a_cpu(source: str, sleeps: bool) -> None:
    with process(source) as number, process("import time; time.sleep(60)") as other:
        assert await asleep([number, other]) is sleeps
        if shutil.which("busybox"):
            assert by_shell([number, other]) is sleeps, "the appliance sees it in the same way"
    with pytest.raises(ThreadEnd):
        await asleep([number])
    if shutil.which("busybox"):
        with pytest.raises(ThreadEnd):
            by_shell([number])


@pytest.mark.parametrize(
    ("said", "count", "sleeps"),
    [
        (LINES * 2, 2, True),
        (["S"] * 4, 2, True),  # a kernel that does not count
        ([*LINES, "S 1000 2000 3", "S 5 6 8"], 2, False),
        (["R 1 2 3"] * 2, 1, False),
        (LINES, 2, False),
        ([*LINES * 2, *LINES], 2, False),
        ([], 2, False),
        ([], 0, False),
    ],
)
def test_only_two_looks_that_are_alike_tell_of_sleep(said: list[str], count: int, sleeps: bool) -> None:
    assert slept("\n".join(said), count) is sleeps


@pytest.mark.parametrize(
    ("options", "second", "sleeps"),
    [
        ("kernel_irqchip=off", "S 1180869860 64845730 881", True),  # as it was seen: a timer's interrupt, not taken
        ("", "S 1180869860 64845730 881", False),
        ("kernel_irqchip=off", "S 1180969861 64845730 881", False),
        ("kernel_irqchip=off", "R 1180869860 64845730 881", False),
        ("kernel_irqchip=off", "S x 64845730 881", False),
    ],
)
def test_a_wake_up_without_work_is_sleep_where_qemu_has_the_interrupt_controllers(
    options: str, second: str, sleeps: bool
) -> None:
    assert slept(f"S 1180828210 64661630 880\n{second}", 1, spare(options)) is sleeps


@pytest.mark.parametrize("said", [[""] * 4, ["S 1 2 3", "", "S 1 2 3", ""]])
def test_a_cpu_without_a_thread_is_told(said: list[str]) -> None:
    with pytest.raises(ThreadEnd):
        slept("\n".join([*said, ""]), 2)


class Halts(Qemu):
    """A guest that has halted as soon as somebody asks, as one in L2 would seem to that runs again meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.looks = 0
        self._client.listener = self._no_events  # type: ignore[method-assign, assignment]

    @contextlib.contextmanager
    def _no_events(self, names: object) -> Iterator[AsyncIterator[object]]:
        async def none() -> AsyncIterator[object]:
            await asyncio.Event().wait()
            yield

        yield none()

    async def execute(self, command: str, **arguments: object) -> object:
        self.asked.append(command)
        if command == "query-cpus-fast":
            return [{"cpu-index": 0, "thread-id": 7}]
        return (
            "EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\nEAX=00000001"
            if command == "human-monitor-command"
            else {}
        )

    async def asleep(self, threads: Sequence[int]) -> bool:
        assert list(threads) == [7]
        self.looks += 1
        assert "human-monitor-command" not in self.asked, "its registers were asked for before it slept"
        return self.looks == 3


async def test_a_cpu_that_loses_its_thread_ends_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulators.qemu.machine.WORD", 0.01)
    image = tmp_path / "image"
    image.write_bytes(b"")

    async def gone(threads: Sequence[int]) -> bool:
        return slept("\n\n", 1)

    watch = Watch(Boot(image=image, image_sha256="", limits=Limits(quiet=20, total=20)))
    looks = IdleProbes(tmp_path, 20, gone, 0.01, unseen)  # type: ignore[arg-type]
    end = await Halts().run(watch._boot, watch, asyncio.StreamReader(), asyncio.StreamReader(), looks=looks)
    assert end == (Ending.CRASH, "a CPU of the guest has no thread any more: the kernel under it has ended it")


class Deaf(Halts):
    """Answers nothing once its guest runs, as where that keeps the machine under QEMU from doing anything."""

    async def execute(self, command: str, **arguments: object) -> object:
        raise AnswerTimeout(f"QEMU does not answer {command}")

    async def asleep(self, threads: Sequence[int]) -> bool:
        raise AnswerTimeout("the appliance does not answer")


async def test_a_guest_that_cannot_be_asked_ends_by_its_deadline(tmp_path: Path) -> None:
    class Screen:
        async def glance(self) -> bytes:
            raise AnswerTimeout("QEMU does not answer screendump")

        async def text(self) -> bytes:
            raise AssertionError("not asked for")

    image = tmp_path / "image"
    image.write_bytes(b"")
    qemu = Deaf()
    watch = Watch(Boot(image=image, image_sha256="", limits=Limits(quiet=0.3, total=20)))
    looks = IdleProbes(Screen(), 0.05, qemu.asleep, 0.01, unseen)
    end = await qemu.run(watch._boot, watch, asyncio.StreamReader(), asyncio.StreamReader(), looks=looks)
    assert end[0] == Ending.QUIET


async def test_registers_are_asked_for_once_and_only_of_a_cpu_that_sleeps(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    qemu = Halts()
    screen, com1, debug = tmp_path, asyncio.StreamReader(), asyncio.StreamReader()
    watch = Watch(Boot(image=image, image_sha256="", limits=Limits(quiet=20, total=20)))
    looks = IdleProbes(screen, 20, qemu.asleep, 0.01, unseen)  # type: ignore[arg-type]
    end = await qemu.run(watch._boot, watch, com1, debug, looks=looks)
    assert end[0] == Ending.HALTED and qemu.looks == 3
    assert await qemu.registers() == {"rax": "0x1", "rflags": "0x2"}
    assert qemu.asked == ["cont", "query-cpus-fast", "human-monitor-command"]


class HaltsNested(Halts):
    """Sleeps for ever, as a nested guest in HLT does that only a timer could wake."""

    async def asleep(self, threads: Sequence[int]) -> bool:
        self.looks += 1
        return True


async def test_where_a_marker_is_to_come_a_cpu_that_halts_may_still_be_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulators.qemu.machine.WAKES", 0.5)
    image = tmp_path / "image"
    image.write_bytes(b"")
    for marker, least in (("", 0.0), ("^never$", 0.5)):
        qemu = HaltsNested()
        boot = Boot(image=image, image_sha256="", limits=Limits(quiet=20, total=20), end=marker)
        looks = IdleProbes(tmp_path, 20, qemu.asleep, 0.01, unseen)  # type: ignore[arg-type]
        begun = time.monotonic()
        end = await qemu.run(boot, Watch(boot), asyncio.StreamReader(), asyncio.StreamReader(), looks=looks)
        assert end[0] == Ending.HALTED
        assert least <= time.monotonic() - begun < least + 1
        assert qemu.asked.count("human-monitor-command") == 1
