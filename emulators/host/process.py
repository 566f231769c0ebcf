"""Emulator processes: started in a group of their own, ended as a group, never outliving the tester."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from emulators.host import limits
from emulators.host.errors import EmulatorError

TIMES = slice(
    11, 15
)  # of what follows the name in /proc/PID/stat: utime, stime, cutime, cstime, in clock ticks (proc(5))
T = TypeVar("T")
File = int | IO[bytes]


class Process:
    """One running emulator. Made by `running()` only."""

    def __init__(self, process: subprocess.Popen[bytes], argv: list[str]) -> None:
        self.argv = argv
        self._process = process
        self._cpu_seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._watch, daemon=True, name=f"waits for {process.pid}").start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; one that is gone already is no error."""
        if self.returncode is None:  # not reaped yet, so that the number is still its own
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def wait_for(self, seconds: float) -> int | None:
        """The exit code, or None when the process still runs after `seconds`."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._ended), seconds)
        return None

    def cpu_seconds(self) -> float:
        """User and system time used so far, that of its children that have ended included."""
        if self.returncode is None:
            with contextlib.suppress(
                OSError
            ):  # of /proc itself: psutil takes longer to load than most emulators to start
                fields = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()
                self._cpu_seconds = sum(map(int, fields[TIMES])) / os.sysconf("SC_CLK_TCK")
        return self._cpu_seconds

    def _watch(self) -> None:
        """In a thread of its own: wait for the end, and leave it to the loop to reap, where the signals are sent."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        try:
            _, status, used = os.wait4(self.pid, 0)
        except ChildProcessError:  # reaped by somebody else, against all rules
            self._process.returncode = -1
        else:
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._cpu_seconds = used.ru_utime + used.ru_stime
        if not self._ended.done():
            self._ended.set_result(self._process.returncode)

    async def end(self, *signals: signal.Signals) -> None:
        """End the whole process group, politely first; returns when the process is reaped."""
        for number in (*signals, signal.SIGKILL):
            if self.returncode is None:
                self._signal_group(number)
                await self.wait_for(limits.REAP if number == signal.SIGKILL else limits.GRACE)
        self._signal_group(signal.SIGKILL)  # what the emulator itself may have left in its group

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    output: File,
    cwd: Path,
    stdin: File | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    end_with: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> AsyncIterator[Process]:
    """Run `argv` while the context lasts; both its outputs go to `output`, its input is `stdin` or empty.

    The kernel ends the process when the tester dies, even by SIGKILL (PR_SET_PDEATHSIG, through setpriv).
    Raises EmulatorError when the program cannot be started.
    """
    last_will = end_with[-1] if end_with else signal.SIGKILL
    try:
        process = Process(_start(argv, output, cwd, stdin, env, pass_fds, last_will), list(argv))
    except OSError as error:
        raise EmulatorError(f"cannot start {argv[0]}: {error.strerror}", hint="see `difftest doctor`") from error
    try:
        yield process
    finally:
        process.cpu_seconds()
        await asyncio.shield(asyncio.ensure_future(process.end(*end_with)))


def _start(
    argv: Sequence[str],
    output: File,
    cwd: Path,
    stdin: File | None,
    env: Mapping[str, str] | None,
    pass_fds: Sequence[int],
    last_will: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Not in a thread other than the loop's: the kernel takes the end of the thread that starts a process for its
    parent's.
    """
    guard = shutil.which("setpriv")
    prefix = [guard, "--pdeathsig", last_will.name.removeprefix("SIG"), "--"] if guard else []
    return subprocess.Popen(
        [*prefix, *argv],
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=output,
        stderr=output,
        bufsize=0,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        start_new_session=True,
        pass_fds=tuple(pass_fds),
    )


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of some work that must not be broken off: who is cancelled here waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait([task])
