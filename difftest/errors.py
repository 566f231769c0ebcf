"""Which exception means what to the user: the message, what to do next, and the exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from difftest.text import visible
from difftest.verdict import ExitCode

TRACEBACK = "DIFFTEST_TRACEBACK"  # the environment variable; set to anything but 0, errors come with their traceback
LONGEST_TRACEBACK = 20_000  # characters
# What the operating system refuses whatever difftest does: room, rights, a working disk, descriptors, memory.
HOST_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
    | {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)


class ErrorReport(NamedTuple):
    message: str
    hint: str
    code: ExitCode


class Failure(Exception):
    """What difftest cannot do. `hint` says what to do next; `code` is what the program exits with."""

    code = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BuildError(Failure):
    """A case does not build: the message carries the compiler's words."""


class CaseError(Failure):
    """A case, or a choice of cases and checks, that cannot be used."""


class StoreError(Failure):
    """A stored run that cannot be read or written: the file, and what is wrong."""


class HostError(Failure):
    """This machine lacks or refuses what difftest needs: a program, room on a disk, the right to write."""

    code = ExitCode.HOST


class DiskError(HostError, StoreError):
    """A file that this machine does not let difftest read or write."""


def refusal(error: Exception, message: str, *, hint: str = "", otherwise: type[Failure] = StoreError) -> Failure:
    """What to raise for a file that cannot be read or written: a DiskError when this machine refuses, `otherwise` when
    the name or what is there is wrong.
    """
    kind = DiskError if isinstance(error, OSError) and error.errno in HOST_ERRORS else otherwise
    return kind(message, hint=hint)


def error_report(error: BaseException) -> ErrorReport:
    """An error in the user's words. What nobody foresaw is our fault and says so.

    Of a group it is one that somebody foresaw, if there is one: a full disk brings other errors with it.
    """
    reasons = [_explained(one) for one in _single(error)]
    return next((reason for reason in reasons if reason.code != ExitCode.INTERNAL), reasons[0])


def _single(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _single(one)
    else:
        yield error


def _explained(error: BaseException) -> ErrorReport:
    from emulators.host.errors import ChoiceError, EmulatorError, ExpressionError

    if isinstance(error, Failure):
        return ErrorReport(str(error), error.hint, error.code)
    if isinstance(error, ExpressionError):
        return ErrorReport(str(error), "see the regular expressions in the case's manifest", ExitCode.USAGE)
    if isinstance(error, EmulatorError):
        evidence = f"\n{error.evidence.strip()}" if error.evidence else ""
        code = ExitCode.USAGE if isinstance(error, ChoiceError) else ExitCode.HOST
        return ErrorReport(f"{error}{evidence}", error.hint, code)
    if isinstance(error, KeyboardInterrupt):
        return ErrorReport("interrupted", "", ExitCode.INTERRUPTED)
    if (words := _of_host(error)) is not None:
        return ErrorReport(words, "is the disk full, or read-only? is there memory left?", ExitCode.HOST)
    return ErrorReport(
        f"difftest itself failed: {type(error).__name__}: {error}",
        f"set {TRACEBACK}=1 and run again to see where; please report it",
        ExitCode.INTERNAL,
    )


def _of_host(error: BaseException) -> str | None:
    """What this machine refused, in its own words; None when the error is none of its."""
    if isinstance(error, MemoryError):
        return "this machine has no memory left"
    if isinstance(error, OSError) and error.errno in HOST_ERRORS:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror}"
    return None


def reason_of(error: Exception) -> str:
    """An exception as a verdict's reason. What no driver foresaw is named with its type, for the report to us."""
    from emulators.host.errors import EmulatorError, ExpressionError

    show_traceback(error)
    if isinstance(error, Failure | EmulatorError):
        return f"{error}" + (f" ({error.hint})" if error.hint else "")
    if isinstance(error, ExpressionError):
        return f"the manifest's expression {error}"
    return _of_host(error) or f"difftest itself failed: {type(error).__name__}: {error}"


def show_traceback(error: BaseException) -> None:
    """Print where an error comes from on the error output, if the environment asks for it."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        import traceback

        whole = "".join(traceback.format_exception(error))
        print(visible(whole, LONGEST_TRACEBACK, lines=True), file=sys.stderr, end="", flush=True)
