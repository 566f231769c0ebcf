"""One boot as it is judged and reported: the observation, and what was read from its serial port and its screen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from difftest.reading.record import Transcript, transcript_of
from difftest.reading.screen_reading import ScreenReading
from emulators.observation import Observation


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One boot as the judge sees it: the observation, and what was read from its serial port and its screen."""

    observation: Observation
    transcript: Transcript
    screen: ScreenReading


Parts = Sequence[Seen]  # one repeated boot: the whole image, then what was booted behind checks that killed the guest


def see(observation: Observation, screen: ScreenReading) -> Seen:
    return Seen(observation=observation, transcript=transcript_of(observation), screen=screen)
