"""Programs of this host that do one thing and end: compilers, unpackers, what copies."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from emulators.host import limits
from emulators.host.errors import EmulatorError


def ran(
    argv: Sequence[str | Path],
    *,
    hint: str = "",
    data: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = limits.TOOL,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in a folder, with `data` on its standard input, to its end, whatever its exit code.

    Raises EmulatorError, with the hint, when it cannot be started or takes too long: it is killed then, with all that
    it has started. Blocks: call it in a thread.
    """
    words = [os.fspath(word) for word in argv]
    try:
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        ) as process:
            try:
                output, errors = process.communicate(data, seconds)
            except subprocess.TimeoutExpired as error:
                _kill(process.pid)
                raise EmulatorError(
                    f"{words[0]} has not ended after {seconds:g} s", hint=hint, evidence=tail(error.stderr)
                ) from error
            except BaseException:
                _kill(process.pid)
                raise
    except OSError as error:
        raise EmulatorError(f"cannot start {argv[0]}: {error.strerror}", hint=hint) from error
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def _kill(pid: int) -> None:
    """Kill a program and what it has started: a compiler's driver waits for the compiler. They stay in this process
    group meanwhile, so that an interrupt from the terminal reaches them.
    """
    import psutil  # slow to load

    with contextlib.suppress(psutil.Error):
        tool = psutil.Process(pid)
        for process in [tool, *tool.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()


def tail(output: bytes | None) -> str:
    """The end of what a program printed."""
    return (output or b"")[-2000:].decode(errors="replace")
