"""Emulator processes: started in a group of their own, ended as a group, never outliving the tester."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from emulators.target import EmulatorError

GRACE = 2.0  # seconds a process gets to follow a polite signal before the next, harsher one


class Process:
    """One running emulator. Made by `running()` only."""

    def __init__(self, process: asyncio.subprocess.Process, argv: list[str]) -> None:
        self.argv = argv
        self._process = process
        self._cpu_seconds = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; one that is gone already is no error."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def write(self, data: bytes) -> None:
        """Write to the process's standard input (only if it was started with `stdin=True`)."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(data)

    async def wait(self) -> int:
        return await self._process.wait()

    async def wait_for(self, seconds: float) -> int | None:
        """The exit code, or None when the process still runs after `seconds`."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self._process.wait())), seconds)
        return None

    def cpu_seconds(self) -> float:
        """User and system time used so far, its children included; the last figure known once it has ended."""
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self.pid).cpu_times()
            self._cpu_seconds = times.user + times.system
        return self._cpu_seconds

    async def end(self, *signals: signal.Signals) -> None:
        """End the whole process group, politely first; returns when the process is reaped."""
        for number in (*signals, signal.SIGKILL):
            if self.returncode is None:
                self._signal_group(number)
                if number == signal.SIGKILL:
                    await self._process.wait()
                else:
                    await self.wait_for(GRACE)
        self._signal_group(signal.SIGKILL)  # what the emulator itself may have left behind in its group

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    output: IO[bytes],
    cwd: Path,
    stdin: bool = False,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    end_with: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> AsyncIterator[Process]:
    """Run `argv` while the context lasts; both its outputs go to `output`.

    The kernel ends the process when the tester dies, even by SIGKILL (PR_SET_PDEATHSIG, through setpriv).
    Raises EmulatorError when the program cannot be started.
    """
    guard = shutil.which("setpriv")
    last_will = end_with[-1] if end_with else signal.SIGKILL
    prefix = [guard, "--pdeathsig", last_will.name.removeprefix("SIG"), "--"] if guard else []
    try:
        started = await asyncio.create_subprocess_exec(
            *prefix,
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    except OSError as error:
        raise EmulatorError(f"cannot start {argv[0]}: {error.strerror}", hint="see `difftest doctor`") from error
    process = Process(started, list(argv))
    try:
        yield process
    finally:
        process.cpu_seconds()
        await asyncio.shield(asyncio.ensure_future(process.end(*end_with)))
