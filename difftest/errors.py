"""Which exception means what to the user: the message, what to do next, and the exit code."""

from __future__ import annotations

from typing import NamedTuple

from difftest.verdict import ExitCode


class Explained(NamedTuple):
    message: str
    hint: str
    code: ExitCode


class BuildError(Exception):
    """A case does not build: the message carries the compiler's words, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class CaseError(Exception):
    """A case that cannot be used; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreError(Exception):
    """A stored run that cannot be read or written: the file, and what is wrong."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def explained(error: BaseException) -> Explained:
    """An error in the user's words. What nobody foresaw is our fault and says so."""
    from emulators.host.errors import EmulatorError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CaseError | BuildError | StoreError):
        return Explained(str(error), error.hint, ExitCode.USAGE)
    if isinstance(error, EmulatorError):
        evidence = f"\n{error.evidence.strip()}" if error.evidence else ""
        return Explained(f"{error}{evidence}", error.hint, ExitCode.USAGE)
    return Explained(
        f"difftest itself failed: {type(error).__name__}: {error}",
        "set DIFFTEST_TRACEBACK=1 and run again to see where; please report it",
        ExitCode.INTERNAL,
    )


def told(error: Exception) -> str:
    """An exception as a verdict's reason. What no driver foresaw is named with its type, for the report to us."""
    from emulators.host.errors import EmulatorError

    if isinstance(error, EmulatorError):
        return f"{error}" + (f" ({error.hint})" if error.hint else "")
    return f"difftest itself failed: {type(error).__name__}: {error}"
