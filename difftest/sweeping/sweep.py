"""A sweep: ranges of vectors on KVM and on the CPU under it, what differs asked in full, judged and made small."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from difftest.atomic import encode, write
from difftest.sweeping.engine import Say, SweepSide
from difftest.sweeping.findings import Opinion, SweepFinding, chosen, grouped, opinions
from difftest.sweeping.generate import vectors_of
from difftest.sweeping.minimise import minimised
from difftest.sweeping.model import RULES, expect
from difftest.sweeping.outcomes import digests
from difftest.sweeping.piece import SweepPiece, differing, kept
from difftest.sweeping.table import TABLE
from difftest.sweeping.vectors import U64, VectorFacts, Vectors

PIECE = 1 << 15
MOST_ASKED_A_FAMILY = 2048
CPU, KVM = "cpu", "kvm"
T = TypeVar("T")
Pairs: TypeAlias = list[tuple[SweepPiece, SweepPiece]]  # of the CPU under KVM, and of KVM


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep is to do. With a shard (k, n) every n-th piece from the k-th on is its."""

    families: tuple[str, ...]
    seed: int
    vectors: int  # of each family
    seconds: float | None = None
    shard: tuple[int, int] = (0, 1)
    generator: int = TABLE.version

    def pieces(self) -> list[tuple[str, int, int]]:
        """(family, first, count), families in turn, so that a sweep cut short has something of each."""
        part, parts = self.shard
        spans = [(first, min(PIECE, self.vectors - first)) for first in range(0, self.vectors, PIECE)][part::parts]
        return [(family, first, count) for first, count in spans for family in self.families]


class Coverage(msgspec.Struct, frozen=True):
    """Of the vectors that were run: how many broke each rule alone, kept to it, or were none of its business."""

    alone: dict[str, int]
    kept: dict[str, int]
    elsewhere: dict[str, int]


class FamilyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep showed of one family. `history`: vectors whose outcome in full is not the one that they had among
    others. `unasked`: differing vectors that were not asked in full.
    """

    family: str
    vectors: int
    differing: int
    unasked: int
    unrun: int
    skipped: int  # on one side: they fit a pattern of vectors that end the machine
    equal: int  # of those asked: they were asked for a block's sake
    permitted: int
    review: int
    history: tuple[int, ...] = ()
    findings: tuple[SweepFinding, ...] = ()
    reviews: tuple[SweepFinding, ...] = ()  # equal on both sides, but not what the model allows: for people to look at
    coverage: Coverage
    deaths: dict[str, dict[int, str]] = {}
    seconds: dict[str, float] = {}  # by side
    instructions: dict[str, float] = {}


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """sweep.json in the folder of a sweep. `status`: "finished", "stopped" at its time, or "interrupted"."""

    plan: SweepPlan
    status: str
    facts: VectorFacts
    identities: dict[str, dict[str, str]]
    families: tuple[FamilyResult, ...] = ()
    command: tuple[str, ...] = ()
    tool_version: str = ""
    confirmed_by: str = ""  # the run in which the findings were booted again
    schema: int = 1

    def keep(self, folder: Path) -> None:
        write(folder / "sweep.json", encode(self))


class Sweep:
    """A sweep being done in a folder of its own."""

    def __init__(
        self,
        plan: SweepPlan,
        cpu: SweepSide,
        kvm: SweepSide,
        folder: Path,
        say: Say,
        progress: Callable[[int, float], None],
    ) -> None:
        self.plan = plan
        self.sides = {CPU: cpu, KVM: kvm}
        self.folder = folder
        self.say = say
        self.progress = progress
        self.pieces: dict[tuple[str, int, int, str], SweepPiece] = {}
        self.facts: VectorFacts | None = None

    async def run(self) -> tuple[VectorFacts, list[FamilyResult], bool]:
        """Do it: the facts, the results, and whether all pieces were run in the time that there was."""
        own = await self._both(lambda side: side.facts())
        self.facts = facts = own[0].shared_with(own[1])
        self.pieces = kept(self.folder / "pieces")
        started, done, whole = time.monotonic(), 0, True
        for family, first, count in self.plan.pieces():
            if self.plan.seconds is not None and time.monotonic() - started > self.plan.seconds:
                whole = False
                break
            await self._both(partial(self._piece, family=family, first=first, count=count, facts=facts))
            done += count
            self.progress(done, time.monotonic() - started)
        return facts, [await self._family(family, facts) for family in self.plan.families], whole

    async def _both(self, work: Callable[[SweepSide], Coroutine[None, None, T]]) -> list[T]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(side)) for side in self.sides.values()]
        return [task.result() for task in tasks]

    async def _piece(self, side: SweepSide, *, family: str, first: int, count: int, facts: VectorFacts) -> None:
        if (family, first, count, side.name) not in self.pieces:
            piece = await side.piece(family, self.plan.seed, first, count, facts)
            piece.keep(self.folder / "pieces")
            self.pieces[family, first, count, side.name] = piece

    async def _family(self, family: str, facts: VectorFacts) -> FamilyResult:
        """Compare the pieces of a family, ask what differs, and judge it."""
        pairs = [
            (self.pieces[family, first, count, CPU], self.pieces[family, first, count, KVM])
            for other, first, count in self.plan.pieces()
            if other == family and {(family, first, count, side) for side in self.sides} <= set(self.pieces)
        ]
        coverage, unexpected = self._model(family, pairs, facts)
        numbers = sorted({number for pair in pairs for number in differing(*pair)} | unexpected)
        vectors = self._made(family, np.array(numbers, dtype=np.uint64), facts)
        places = chosen(vectors, expect(TABLE.families[family], vectors, facts), MOST_ASKED_A_FAMILY)
        asked, asked_numbers = vectors.take(places), [numbers[place] for place in places]
        cpu, kvm = await self._ask(family, asked)
        history = self._history(pairs, asked_numbers, cpu, kvm)
        judged = opinions(expect(TABLE.families[family], asked, facts), cpu, kvm)
        settled = Opinion.AGREE, Opinion.PERMITTED
        clear = [at for at, number in enumerate(asked_numbers) if number not in history and judged[at] not in settled]
        picked = asked.take(clear)
        found = grouped(family, picked, [asked_numbers[at] for at in clear], facts, cpu[clear], kvm[clear])

        async def ask(candidates: Vectors) -> tuple[U64, U64]:
            return await self._ask(family, candidates)

        small = await minimised(family, list(found.values()), facts, ask)
        self.say(f"{family}: {len(numbers)} vectors differ, {len(asked)} asked in full, {len(small)} signatures")
        return FamilyResult(
            family=family,
            vectors=sum(cpu_piece.count for cpu_piece, _ in pairs),
            differing=len(numbers),
            unasked=len(numbers) - len(asked),
            unrun=sum(max(one.unrun, other.unrun) for one, other in pairs),
            skipped=sum(int(np.sum(piece.bytes_() == -3)) for pair in pairs for piece in pair),
            equal=judged.count(Opinion.AGREE),
            permitted=judged.count(Opinion.PERMITTED),
            review=judged.count(Opinion.REVIEW),
            history=tuple(history),
            findings=tuple(one for one in small if one.signature.opinion.finding),
            reviews=tuple(one for one in small if not one.signature.opinion.finding),
            coverage=coverage,
            deaths={side: _deaths(pairs, at) for at, side in enumerate(self.sides)},
            seconds={side: sum(pair[at].seconds for pair in pairs) for at, side in enumerate(self.sides)},
            instructions={side: sum(pair[at].instructions for pair in pairs) for at, side in enumerate(self.sides)},
        )

    def _made(self, family: str, numbers: U64, facts: VectorFacts) -> Vectors:
        return vectors_of(TABLE.families[family], self.plan.seed, numbers, facts)

    async def _ask(self, family: str, vectors: Vectors) -> tuple[U64, U64]:
        cpu, kvm = await self._both(lambda side: side.outcomes(family, vectors))
        return cpu, kvm

    def _history(self, pairs: Pairs, numbers: list[int], cpu: U64, kvm: U64) -> list[int]:
        """The vectors that came out otherwise in full than among others, on any side."""
        found: set[int] = set()
        for at, rows in enumerate((cpu, kvm)):
            now = np.where(rows[:, 0] >> np.uint64(32) != 0, -1, (digests(rows) >> np.uint64(56)).astype(np.int16))
            before: dict[int, int] = {}
            for pair in pairs:
                before |= dict(
                    zip(range(pair[at].first, pair[at].first + pair[at].count), pair[at].bytes_(), strict=True)
                )
            found |= {number for number, byte in zip(numbers, now.tolist(), strict=True) if before[number] != byte}
        return sorted(found)

    def _model(self, family: str, pairs: Pairs, facts: VectorFacts) -> tuple[Coverage, set[int]]:
        """What the rules of the model had to do with the vectors that were run, and the numbers of those whose byte,
        on any side, is not the model's.
        """
        alone, satisfied, elsewhere = ({rule.id: 0 for rule in RULES} for _ in range(3))
        unexpected: set[int] = set()
        for pair in pairs:
            numbers = np.arange(pair[0].first, pair[0].first + pair[0].count, dtype=np.uint64)
            expected = expect(TABLE.families[family], self._made(family, numbers, facts), facts)
            byte = (digests(expected.rows) >> np.uint64(56)).astype(np.int16)
            for piece in pair:
                seen = piece.bytes_()
                unexpected |= set(numbers[(seen >= -1) & (seen != byte)].tolist())
            for bit, rule in enumerate(RULES):
                one = np.uint64(1 << bit)
                applies = (expected.applies & one) != 0
                alone[rule.id] += int(np.sum(expected.broken == one))
                satisfied[rule.id] += int(np.sum(applies & (expected.broken & one == 0)))
                elsewhere[rule.id] += int(np.sum(~applies))
        return Coverage(alone, satisfied, elsewhere), unexpected


def _deaths(pairs: Pairs, at: int) -> dict[int, str]:
    return {number: ending for pair in pairs for number, ending in pair[at].deaths.items()}
