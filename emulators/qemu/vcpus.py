"""Whether the virtual CPUs of a QEMU sleep, seen without touching them.

To ask QEMU for registers is no mere look: under KVM it takes a CPU's state out and puts it back before the CPU goes on,
and what KVM is given by KVM_SET_SREGS while L2 runs replaces L2's CR0 and CR4 read shadows. L2's next MOV to CR0 may
then not exit. So a guest is asked whether it has halted for good only when the threads of its CPUs have done nothing
for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from emulators.host.errors import EmulatorError
from emulators.host.memory import ram_address, ram_digest
from emulators.watch import GuestState

DIGEST = "/bin/digest"  # in the appliance: digest.c
IDLE_SHARE = 0.25  # of the time: a guest whose CPUs run less than this only waits
BETWEEN = 0.02  # seconds between two looks
# Nanoseconds that a CPU which sleeps may run between them where QEMU has the interrupt controllers: each interrupt that
# is raised wakes its thread for a moment, also one that the CPU does not take.
WOKEN = 100_000


class ThreadEnd(EmulatorError):
    """A virtual CPU has no thread any more, as when the kernel under it has run into a BUG."""


def spare(qemu_options: str) -> int:
    """Nanoseconds that CPUs which sleep may run between two looks, with these options of QEMU's -machine."""
    return WOKEN if "kernel_irqchip=off" in qemu_options else 0


async def asleep(threads: Sequence[int], spare: int = 0) -> bool:
    """Whether these threads of this host sleep, and go on sleeping for a moment, but for `spare` nanoseconds."""
    first = _looked(threads)
    await asyncio.sleep(BETWEEN)
    return slept("".join([*first, *_looked(threads)]), len(threads), spare)


def asleep_command(threads: Sequence[int]) -> str:
    """The same look in a shell of busybox, for `slept`."""
    numbers = " ".join(map(str, threads))
    looked = "read -r _ _ state _ </proc/$t/task/$t/stat; read -r ran </proc/$t/task/$t/schedstat"
    one = f"state=; ran=; {looked}; echo $state $ran"
    look = f"for t in {numbers}; do {one}; done"
    return f"{{ {look}; busybox usleep {int(BETWEEN * 1e6)}; {look}; }} 2>/dev/null"


def slept(said: str, count: int, spare: int = 0) -> bool:
    """What two looks at so many threads show. A line for each: its state, and, where the kernel counts them, the
    nanoseconds that it ran and waited, and how often it was put on a CPU. It may have run for `spare` nanoseconds
    between them. Raises ThreadEnd for an empty line.
    """
    lines = said.splitlines()
    if any(not line.strip() for line in lines):
        raise ThreadEnd("a CPU of the guest has no thread any more: the kernel under it has ended it")
    first, second = lines[:count], lines[count:]
    if not 0 < count == len(first) == len(second):
        return False
    return all(_slept_on(one, other, spare) for one, other in zip(first, second, strict=True))


def _slept_on(first: str, second: str, spare: int) -> bool:
    """Whether a thread slept at both looks, and ran for at most `spare` nanoseconds between them."""
    (state, *counts), (later, *more) = first.split(), second.split()
    if state != "S" or later != "S":
        return False
    numbers = len(counts) == len(more) == 3 and all(number.isdecimal() for number in (*counts, *more))
    return counts == more or (numbers and int(more[0]) - int(counts[0]) <= spare > 0)


class CpuShare:
    """How much the virtual CPUs run from one look to the next."""

    def __init__(self) -> None:
        self._before: tuple[float, list[float]] | None = None

    def idle(self, clock: float, ran: list[float]) -> bool:
        """Whether they all have mostly slept since the last look. `clock` and what each has
        `ran`, or wanted to run, are in seconds.
        """
        before, self._before = self._before, (clock, ran)
        if before is None or clock <= before[0] or len(ran) != len(before[1]):
            return False
        most = max((now - then for now, then in zip(ran, before[1], strict=True)), default=0.0)
        return most < IDLE_SHARE * (clock - before[0])


def guest_state(share: CpuShare, threads: Sequence[int], ram_bytes: int) -> GuestState:
    """Of the guest that these threads of this host run. Raises OSError."""
    ran = [_wanted_cpu(Path(f"/proc/{one}/task/{one}/schedstat").read_text()) for one in threads]
    memory = ram_digest(threads[0], ram_address(threads[0], ram_bytes), ram_bytes)
    return GuestState(memory, share.idle(time.monotonic(), ran))


def _wanted_cpu(schedstat: str) -> float:
    """Seconds that a thread ran, or waited for a CPU that others had: on a busy host it gets little."""
    ran, waited = schedstat.split()[:2]
    return (float(ran) + float(waited)) / 1e9


def guest_state_command(threads: Sequence[int], ram_bytes: int) -> str:
    """The same look in a shell of busybox, for `parsed_state`."""
    numbers = " ".join(map(str, threads))
    ran = f"for t in {numbers}; do read -r ran _ </proc/$t/task/$t/schedstat; echo $ran; done"
    return f"read -r clock _ </proc/uptime; echo $clock; {ran}; {DIGEST} {threads[0]} {ram_bytes}"


def parsed_state(share: CpuShare, said: str) -> GuestState:
    """What that look says. Raises EmulatorError when it says nothing of the kind."""
    try:
        clock, *ran, digest = said.split()
        return GuestState(digest.encode(), share.idle(float(clock), [float(one) / 1e9 for one in ran]))
    except ValueError:
        raise EmulatorError("the guest's memory cannot be looked at", evidence=said[-500:]) from None


def _looked(threads: Sequence[int]) -> list[str]:
    lines = []
    for thread in threads:
        folder = Path(f"/proc/{thread}/task/{thread}")
        state = ran = ""
        with contextlib.suppress(OSError, IndexError):  # it has gone
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            ran = (folder / "schedstat").read_text().strip()
        lines.append(f"{state} {ran}\n")
    return lines
