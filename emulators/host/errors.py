"""What an emulator, or this machine, may fail with, and how long work reports what it does."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]  # called with one short line: what is being done now


def silent(line: str) -> None:
    """Progress that nobody wants to see."""


class EmulatorError(Exception):
    """A target cannot be used, or broke. `hint` is the thing to try next, `evidence` the emulator's own last words."""

    def __init__(self, message: str, *, hint: str = "", evidence: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.evidence = evidence


class ChoiceError(EmulatorError):
    """What the user chose for a target cannot be used: a version that there is none of, a path that is no program."""


class HostingError(EmulatorError):
    """KVM cannot run any guest on the emulated CPU that it was given: no boot on it shows anything of KVM."""


class ExpressionError(Exception):
    """A regular expression of a manifest that cannot be used: it does not compile, or takes too long."""
