"""How long each wait on an emulator, an appliance, an X server or a tool may take, in seconds of wall time.

A boot's own deadlines come from its case and the command line (emulators.observation.Limits, emulators.watch). What is
here bounds everything around them: starting, one question and its answer, the last look at a guest, ending. The numbers
are many times what a loaded host needs. Whoever waits on a machine also names its end: `in_time` gives up as soon as
the machine is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from emulators.host.errors import EmulatorError

T = TypeVar("T")

# Bochs and its debugger.
BOCHS_START = 15.0  # until it has connected to its serial ports, and until its debugger is up
BOCHS_STOP = 10.0  # until an interrupted Bochs has stopped, or one that was sent `quit` has left
BOCHS_ANSWER = 10.0  # of one command of the debugger
BOCHS_DIALOG = 20.0  # until a window of it has come, one step of saving its state
BOCHS_SAVE = 60.0  # until its state is on the disk
# The X server that it draws on.
X_START = 15.0
X_PICTURE = 10.0
# QEMU on this host.
QEMU_START = 20.0  # until it has connected to its sockets, and has greeted
QEMU_ANSWER = 10.0  # of one QMP command
QEMU_LEAVE = 5.0  # of closing QMP
# The appliance: Linux and QEMU inside Bochs, some fifty times slower than the host.
LINUX_START = 180.0  # from power-on to its first word
RESTORED = 20.0  # from a snapshot to the first answer
AGENT_ANSWER = 60.0  # of one shell command in it
INNER_QEMU_START = 60.0
INNER_QEMU_ANSWER = 30.0
INNER_QEMU_LEAVE = 20.0
FIRMWARE = 120.0  # until the firmware of QEMU's guest has handed over to the disk
LAST_LOOK = 6.0  # until QEMU has stopped its guest and written what there is to see: longer only when L0 is deaf
DEAF = 2.0  # until the agent has said a word, where QEMU has not answered
COLLECT = 30.0  # until the agent has handed that out
# Processes and tools of this host.
GRACE = 2.0  # a process gets so long to follow a polite signal before the next, harsher one
REAP = 10.0  # until a killed process is gone
SAYS_WHAT_IT_IS = 20.0  # a program that is asked for its version or its options
TOOL = 120.0  # a compiler, a copy, an unpacker
LOCK = 900.0  # until another run has made what this one waits for


class AnswerTimeout(EmulatorError):
    """No answer in time. What was asked may still run."""


async def in_time(
    work: Awaitable[T],
    seconds: float,
    message: str,
    *,
    end: Callable[[], Coroutine[Any, Any, object]] | None = None,
    evidence: Callable[[], str] = lambda: "",
) -> T:
    """The result of `work`, which is cancelled when it takes longer, or when `end()`, of the machine that it waits on,
    is over first.

    Raises AnswerTimeout with the message in the first case, EmulatorError in the second, and what `work` raises.
    """
    task = asyncio.ensure_future(work)
    waiting: list[asyncio.Future[Any]] = [task]
    if end is not None:
        waiting.append(asyncio.ensure_future(end()))
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if done:
            raise EmulatorError(f"{message}: its emulator has ended", evidence=evidence())
        raise AnswerTimeout(f"{message} within {seconds:g} s", evidence=evidence())
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
