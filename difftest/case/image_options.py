"""What a user says of an image on the command line, where no manifest says it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from difftest.errors import CaseError
from emulators.observation import Medium

# Deadlines, in seconds, of an image whose end the screen shows: it may pause before it gets there, and patience costs
# nothing unless it never does.
PATIENT_QUIET, PATIENT_TOTAL = 60.0, 300.0


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that `difftest run FILE` and `difftest add FILE` share; None and "" where one was not given."""

    command_line: str = ""
    modules: Sequence[str] = ()  # paths, each with the words after the name
    second: Path | None = None
    medium: Medium | None = None
    memory_mib: int | None = None
    cpus: int | None = None
    end: str = ""  # regular expressions, as in a manifest
    end_screen: str = ""
    volatile: Sequence[str] = ()

    def words(self) -> list[str]:
        """The options that were given, as words of a command line."""
        pairs = [
            ("--command-line", self.command_line),
            *(("--module", module) for module in self.modules),
            ("--second-disk", self.second),
            ("--medium", self.medium),
            ("--memory", self.memory_mib),
            ("--cpus", self.cpus),
            ("--end", self.end),
            ("--end-screen", self.end_screen),
            *(("--volatile", expression) for expression in self.volatile),
        ]
        return [word for option, value in pairs if value for word in (option, str(value))]

    def refuse(self, what: str) -> None:
        """Raises CaseError when any was given, for `what` takes none."""
        if words := self.words():
            hint = "for a case, say it in its case.toml; for another machine, `difftest add FILE` makes a case"
            raise CaseError(f"{words[0]} is for an image, not for {what}", hint=hint)
