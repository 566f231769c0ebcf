"""Boots of a sweep's image: ranges for digests, chosen vectors in full; what ends the machine is an outcome."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from difftest.errors import HostError
from difftest.sweeping.generate import vectors
from difftest.sweeping.image import (
    MOST_ASKED,
    MOST_SKIPPED,
    Mode,
    SweepImage,
    digests_of,
    facts_of,
    outcomes_of,
    why_skipped,
)
from difftest.sweeping.outcomes import died
from difftest.sweeping.piece import Stretch, SweepPiece
from difftest.sweeping.table import TABLE
from difftest.sweeping.vectors import U64, Pattern, VectorFacts, Vectors, joined, pattern_of
from emulators.observation import FATAL, HUNG, Boot, Ending, Observation
from emulators.target import Target

MOST_DEATHS = 40  # in one piece: each costs a boot
LEARNT_FROM = 8  # deaths of one base state and instruction that make a pattern of vectors to be left out
INSTRUCTIONS = "emulated instructions"
Say = Callable[[str], None]


class SweepSide:
    """A target that vectors are run on."""

    def __init__(self, name: str, target: Target, image: SweepImage, say: Say) -> None:
        self.name = name
        self.target = target
        self.image = image
        self.say = say
        self.boots = 0
        self.deadly: dict[str, list[Vectors]] = {}  # by family: the vectors that ended the machine so far
        self.seconds = 0.0

    async def facts(self) -> VectorFacts:
        """What this side's CPU supports. Raises HostError where it cannot run vectors at all."""
        observation = await self._boot(self.image.boot(Mode.FACTS))
        if reason := why_skipped(observation):
            raise HostError(f"{self.target.name} cannot run a sweep: {reason}")
        facts = facts_of(observation)
        if facts is None:
            raise HostError(f"the image of the sweep did not start on {self.target.name}: {observation.detail}")
        return facts

    async def piece(self, family: str, seed: int, first: int, count: int, facts: VectorFacts) -> SweepPiece:
        """Run a range for its digests. After a vector that ends the machine it goes on with the next one."""
        runs: list[Stretch] = []
        deaths: dict[int, str] = {}
        at, end, started, instructions = first, first + count, time.monotonic(), 0.0
        hunted = 0  # a vector among this many next ones took the guest's memory with it; 0 where that is not so
        while at < end and len(deaths) < MOST_DEATHS:
            size = max(1, hunted // 2) if hunted else end - at
            patterns, number = self.patterns(family), TABLE.families[family]
            boot = self.image.boot(Mode.DIGESTS, number, seed, at, size, facts, skipped=patterns)
            observation = await self._boot(boot)
            instructions += observation.counters.get(INSTRUCTIONS, 0.0)
            found = digests_of(observation, size)
            ran = vectors(number, seed, at, found.done, facts)
            left_out = {at + place for pattern in patterns for place in np.flatnonzero(pattern.fits(ran)).tolist()}
            runs.append(Stretch(at, found.bytes_, found.blocks.astype("<u8").tobytes(), sorted(left_out)))
            at += found.done
            if found.done == size:
                hunted = max(0, hunted - size)
                continue
            ending = _ended(observation)
            if not observation.ram_log and size > 1:
                hunted = size
                continue
            hunted = 0
            deaths[at] = ending
            self.deadly.setdefault(family, []).append(vectors(number, seed, at, 1, facts))
            self.say(f"{family} {at} ends the machine on {self.target.name}: {ending}")
            at += 1
        return SweepPiece(
            family=family, side=self.name, first=first, count=count, runs=runs, deaths=deaths,
            unrun=end - at,
            seconds=time.monotonic() - started, instructions=instructions,
        )  # fmt: skip

    def patterns(self, family: str) -> list[Pattern]:
        """What is left out for now: what the vectors that ended the machine have in common, by base state and
        instruction, where there were enough of them.
        """
        groups: dict[tuple[int, int], list[Vectors]] = {}
        for one in self.deadly.get(family, []):
            groups.setdefault((int(one.base[0]), int(one.op[0])), []).append(one)
        learnt = [pattern_of(joined(group)) for group in groups.values() if len(group) >= LEARNT_FROM]
        return learnt[:MOST_SKIPPED]

    async def outcomes(self, family: str, wanted: Vectors) -> U64:
        """A row for each vector, in full."""
        rows: list[U64] = [np.zeros((0, died().shape[1]), dtype=np.uint64)]
        at, size = 0, MOST_ASKED
        while at < len(wanted):
            asked = wanted.take(range(at, min(at + size, len(wanted))))
            observation = await self._boot(self.image.boot(Mode.OUTCOMES, TABLE.families[family], asked=asked))
            found = outcomes_of(observation, len(asked))
            rows.append(found)
            at += len(found)
            if len(found) == len(asked):
                continue
            _ended(observation)
            if not observation.ram_log and len(asked) > 1:
                size = len(asked) // 2
                continue
            rows.append(died())
            at, size = at + 1, MOST_ASKED
        return np.concatenate(rows)

    async def _boot(self, boot: Boot) -> Observation:
        self.boots += 1
        started = time.monotonic()
        async with self.target.session([boot], lambda line: None) as session:
            observation = await session.boot(boot)
        boot.image.unlink()
        self.seconds += time.monotonic() - started
        return observation


def _ended(observation: Observation) -> str:
    """How the machine ended before the image did. Raises HostError where that says nothing of the guest."""
    dead = FATAL | HUNG | {Ending.PANIC, Ending.POWER_OFF}
    lost = Ending.INTERNAL_ERROR, Ending.CRASH  # ends that may take the guest's memory with them
    if observation.ending not in {*dead, *lost} or (not observation.ram_log and observation.ending not in lost):
        raise HostError(
            f"a boot of the sweep came to no end of its own: {observation.ending} ({observation.detail})",
            hint="is this machine overloaded? --resume goes on where it was",
        )
    return f"{observation.ending}"
