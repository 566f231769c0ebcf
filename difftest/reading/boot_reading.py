"""One boot as it is judged and reported: which boot of the run it is, what was observed, and what was read from it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from difftest.reading.record import Transcript, transcript_of
from difftest.reading.screen_reading import ScreenReading
from emulators.observation import Observation


class BootRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which boot of a run an observation is of."""

    number: int = 0  # of its folder: counts the boots of one case on one target
    repeat: int = 0  # which of the repeated boots of the same bytes
    part: int = 0  # 0: all checks; a later part runs the checks after one that ended, or hung, the guest
    variant: str = ""  # a name of Target.variants(): another machine, booted to confirm; "" for the plain one

    @property
    def order(self) -> tuple[int, int]:
        """By which boots are read: the parts of the first repeat first, whichever was booted first."""
        return self.repeat, self.part


class BootReading(msgspec.Struct, frozen=True, kw_only=True):
    """One boot as the judge and the reports see it."""

    boot: BootRecord = BootRecord()
    observation: Observation
    transcript: Transcript
    screen: ScreenReading


Parts = Sequence[
    BootReading
]  # one repeated boot: the whole image, then what was booted after checks that ended the guest


def read_boot(observation: Observation, screen: ScreenReading, boot: BootRecord | None = None) -> BootReading:
    """A boot with its transcript parsed."""
    return BootReading(
        boot=boot or BootRecord(), observation=observation, transcript=transcript_of(observation), screen=screen
    )
