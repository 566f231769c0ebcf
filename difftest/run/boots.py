"""All boots of a run: made, stored, their screens read, and handed out again as readings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set

import msgspec

from difftest.image.prepare import PreparedCase
from difftest.image.symbols import with_names
from difftest.reading.boot_reading import BootReading, BootRecord, read_boot
from difftest.reading.screen import read_screen
from difftest.reading.screen_reading import ScreenReading
from difftest.run.writer import RunWriter
from emulators.observation import EXITS_LOG, FATAL, HUNG, Boot, Ending, Observation
from emulators.target import Session, Target

UNREAD = ScreenReading(rows={}, problem="the screen was not read")
LOST_WITH_QEMU = {Ending.INTERNAL_ERROR, Ending.CRASH}  # ends that may take the guest's memory with them
# the parts of a boot on the first emulated CPU are numbered below this, on the next below twice this
PARTS_OF_A_CPU = 1000
MOST_HANGS = 8  # boots of one case that may end in a check that hangs: each costs the time of silence
Say = Callable[[str, str, str], None]  # (case, target, one line of what happens)


class Boots:
    """The boots of each case on each target, by their numbers. `read_afresh`: no reading of an earlier run counts."""

    def __init__(self, writer: RunWriter, say: Say, *, read_afresh: bool) -> None:
        self.read_afresh = read_afresh
        self._writer = writer
        self._say = say
        self._readings: dict[tuple[str, str], list[BootReading]] = {}
        self._screens: dict[tuple[str, str], list[asyncio.Task[ScreenReading]]] = {}

    async def boot(
        self,
        prepared: PreparedCase,
        target: Target,
        session: Session,
        boot: Boot,
        repeat: int,
        variant: str = "",
        *,
        first: int = 0,
        checks: Set[str] | None = None,
    ) -> list[int]:
        """Boot an image, and after each check that ended or hung the guest once more with the checks that are left.
        `first` is the place of this group of checks among those of the case; of the group only `checks` are switched
        on, where they are given.

        Returns the numbers of these boots.
        """
        name = prepared.case.name
        numbers: list[int] = []
        reported: set[str] = set()
        wanted = [at for at, about in enumerate(prepared.abouts) if checks is None or about.check in checks]
        part, hangs, in_ram = 0, 0, True
        if len(wanted) < len(prepared.abouts):  # other bytes than those of part 0, but for which checks are on the same
            boot = msgspec.structs.replace(prepared.only(wanted), machine=boot.machine)
            part = 1
        while True:
            record = BootRecord(repeat=repeat, part=first * PARTS_OF_A_CPU + part, variant=variant)
            reading = await self._observe(prepared, target, session, boot, record)
            numbers.append(reading.boot.number)
            ending, left_in = reading.observation.ending, reading.transcript.died_in()
            lost = in_ram and prepared.ram_log is not None and not reading.observation.ram_log.strip()
            known = left_in in {about.check for about in prepared.abouts}
            if not lost:
                reported |= reading.transcript.reported
            if lost and ending in LOST_WITH_QEMU and not known:
                in_ram = False
                self._say(name, target.name, "the guest's memory is gone; booting it with its lines on COM1")
            elif known and hangs < MOST_HANGS:
                hangs += ending not in FATAL | {Ending.FINISHED}
                reported |= {str(left_in)}
                wanted = [at for at in wanted if prepared.abouts[at].check not in reported]
                self._say(name, target.name, f"{left_in} {_what_it_did(ending)}; {len(wanted)} checks are left to boot")
            else:
                break
            if not wanted:
                break
            boot = msgspec.structs.replace(prepared.only(wanted, in_ram=in_ram), machine=boot.machine)
            part += 1
        return numbers

    async def _observe(
        self, prepared: PreparedCase, target: Target, session: Session, boot: Boot, record: BootRecord
    ) -> BootReading:
        """Boot once and store the observation at once. Its screen is read meanwhile: no emulator waits for that."""
        name = prepared.case.name
        observation = await session.boot(boot)
        if log := observation.logs.get(EXITS_LOG):
            logs = {**observation.logs, EXITS_LOG: with_names(log, prepared)}
            observation = msgspec.structs.replace(observation, logs=logs)
        boots = self._readings.setdefault((name, target.name), [])
        reading = read_boot(observation, UNREAD, msgspec.structs.replace(record, number=len(boots)))
        boots.append(reading)
        storing = asyncio.create_task(asyncio.to_thread(self._writer.add_observation, name, reading.boot, observation))
        self._screens.setdefault((name, target.name), []).append(
            asyncio.create_task(self._screen(observation, storing))
        )
        await storing
        seconds = observation.seconds.get("whole", 0.0)
        tail = "" if observation.ending == Ending.FINISHED else f" ({observation.detail})"
        self._say(name, target.name, f"{observation.ending} after {seconds:.1f} s{tail}")
        return reading

    async def _screen(self, observation: Observation, stored: asyncio.Task[None]) -> ScreenReading:
        """What is read off the screen of an observation. It is kept in the observation's folder, which comes first."""
        await asyncio.wait([stored])
        return await asyncio.to_thread(read_screen, observation, afresh=self.read_afresh)

    def any(self, case: str, target: str) -> bool:
        """Whether the case was booted on the target at all."""
        return (case, target) in self._readings

    def unread(self, case: str, target: str) -> bool:
        """Whether a screen is still to be read."""
        return any(reading.screen is UNREAD for reading in self._readings.get((case, target), ()))

    async def read_screens(self, case: str, target: str) -> None:
        """Wait for what is read off the screens of a case on a target, and keep it."""
        boots = self._readings.get((case, target), [])
        for number, reading in enumerate(self._screens.get((case, target), [])):
            screen = await reading
            if boots[number].screen is UNREAD:
                self._writer.add_screen(case, target, number, screen)
                boots[number] = msgspec.structs.replace(boots[number], screen=screen)

    def readings(self, case: str, target: str) -> list[BootReading]:
        """The boots that are judged: those of the plain machine."""
        plain = [reading for reading in self._readings.get((case, target), []) if not reading.boot.variant]
        return sorted(plain, key=lambda reading: reading.boot.order)

    def numbered(self, case: str, target: str, numbers: Sequence[int]) -> list[BootReading]:
        return [self._readings[case, target][number] for number in numbers]


def _what_it_did(ending: Ending) -> str:
    if ending in FATAL:
        return "ended the guest"
    return "hung the guest" if ending in HUNG else f"did not come to its end ({ending})"
