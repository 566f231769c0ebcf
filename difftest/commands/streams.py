"""The standard streams of a command: whatever becomes of their other ends is no error of the command's.

A reader that goes away (`difftest list | head`) or that was never there (`>&-`) changes nothing, not even the exit
code. An output that does not take what is written (`> /dev/full`) is an error of this machine. What the error output
does not take is dropped: nobody could read it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from difftest.errors import HostError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT, ERROR = 1, 2
DESCRIPTORS = {0: os.O_RDONLY, OUTPUT: os.O_WRONLY, ERROR: os.O_WRONLY}


class Stream(io.FileIO):
    """A descriptor that is written to. When it takes nothing more, what is written from then on goes nowhere;
    `refused` is called once, unless it is a reader that has gone.
    """

    def __init__(self, descriptor: int, refused: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._refused = refused

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if not isinstance(error, BrokenPipeError):
                self._refused(error)
        return memoryview(data).nbytes


def open_streams() -> None:
    """Replace sys.stdout and sys.stderr. Descriptors that are closed are opened to nowhere first: else the next file
    that anything opens would become the output.
    """
    for descriptor, flags in DESCRIPTORS.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, flags), descriptor)
    sys.stdout = _text(sys.stdout, OUTPUT, _fail)
    sys.stderr = _text(sys.stderr, ERROR, lambda error: None)


def _text(old: TextIO | None, descriptor: int, refused: Callable[[OSError], None]) -> TextIO:
    """The stream as Python made it, on a descriptor that is watched. Characters that its encoding lacks are escaped."""
    if old is not None:
        old.flush()
    raw = Stream(descriptor, refused)
    lines = descriptor == ERROR or raw.isatty()
    encoding = old.encoding if old is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)


def _fail(error: OSError) -> None:
    raise HostError(f"cannot write the output: {error.strerror}", hint="is the disk full?") from error
