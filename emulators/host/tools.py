"""Programs of this host that do one thing and end: compilers, unpackers, what copies."""

from __future__ import annotations

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
    seconds: float = limits.TOOL,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, with `data` on its standard input, to its end, whatever its exit code.

    Raises EmulatorError, with the hint, when it cannot be started or takes too long: it is killed then. Blocks: call it
    in a thread.
    """
    try:
        return subprocess.run(
            [os.fspath(word) for word in argv],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**os.environ, **(environment or {})},
            check=False,
            timeout=seconds,
        )
    except OSError as error:
        raise EmulatorError(f"cannot start {argv[0]}: {error.strerror}", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise EmulatorError(f"{argv[0]} has not ended after {seconds:g} s", evidence=tail(error.stderr)) from error


def tail(output: bytes | None) -> str:
    """The end of what a program printed."""
    return (output or b"")[-2000:].decode(errors="replace")
