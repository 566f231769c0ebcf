"""Whether the virtual CPUs of a QEMU sleep, seen without touching them.

To ask QEMU for registers is no mere look: under KVM it takes a CPU's state out and puts it back before the CPU goes on,
and what KVM is given by KVM_SET_SREGS while L2 runs replaces L2's CR0 and CR4 read shadows. L2's next MOV to CR0 may
then not exit. So a guest is asked whether it has halted for good only when the threads of its CPUs have done nothing
for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from emulators.host.errors import EmulatorError

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
    """What two looks at so many threads tell. A line for each: its state, and, where the kernel counts them, the
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
