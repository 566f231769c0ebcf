"""The main job: boots every case on every target, keeps each observation the moment it is made, judges, keeps the verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from difftest.judge import Names, Seen, judge, missing, see
from difftest.plan import Plan, Prepared
from difftest.result import Result
from difftest.screen import read_screen
from difftest.store import RunWriter
from difftest.verdict import Verdict
from emulators.observation import Ending, Observation
from emulators.target import EmulatorError, Target

Say = Callable[[str, str, str], None]  # (case, target, one line of what happens)


class Refusal(msgspec.Struct, frozen=True):
    """Why a pair of case and target gives no observation: a missing capability, or a target that cannot be used."""

    verdict: Verdict
    reason: str


async def execute(plan: Plan, targets: Mapping[str, Target], writer: RunWriter, say: Say) -> list[Result]:
    """Do the plan. Returns all results in the plan's order; everything is on disk by then.

    Cancelling ends all emulators; what was observed before stays.
    """
    run = _Run(plan, targets, writer, say)
    return await run.execute()


def names_of(target: Target) -> Names:
    return Names(target=target.name, implementation=target.implementation, inherits=target.inherits)


class _Run:
    def __init__(self, plan: Plan, targets: Mapping[str, Target], writer: RunWriter, say: Say) -> None:
        self._plan = plan
        self._targets = targets
        self._writer = writer
        self._say = say
        self._slots = asyncio.Semaphore(plan.jobs)
        self._seen: dict[tuple[str, str], list[Seen]] = {}
        self._refused: dict[tuple[str, str], Refusal] = {}
        self._results: dict[str, list[Result]] = {}

    async def execute(self) -> list[Result]:
        async with asyncio.TaskGroup() as group:
            for name in (self._plan.reference, *self._plan.subjects):
                for share in self._shares(self._targets[name]):
                    group.create_task(self._serve(self._targets[name], share))
        return [result for prepared in self._plan.prepared for result in self._results.get(prepared.case.name, [])]

    def _shares(self, target: Target) -> list[list[Prepared]]:
        """The cases one session each will boot. A target whose start is dear gets one session for all; the others are
        spread over all job slots.
        """
        wanted = []
        for prepared in self._plan.prepared:
            lacking = sorted(set(prepared.case.manifest.needs) - target.capabilities)
            if lacking:
                self._refuse(prepared, target, Verdict.SKIPPED, f"{target.name} has no {', '.join(lacking)}")
            else:
                wanted.append(prepared)
        sessions = 1 if target.shares_start else self._plan.jobs
        return [share for index in range(sessions) if (share := wanted[index::sessions])]

    async def _serve(self, target: Target, share: Sequence[Prepared]) -> None:
        """Boot these cases on one target, one after the other. What breaks becomes a result, never a lost case."""
        boots = [prepared.boot(self._plan.total_seconds) for prepared in share]
        async with self._slots:
            current = share[0].case.name
            try:
                async with target.session(boots, lambda line: self._say(current, target.name, line)) as session:
                    for prepared, boot in zip(share, boots, strict=True):
                        current = prepared.case.name
                        for number in range(self._plan.repeats):
                            observation = await session.boot(boot)
                            await self._keep(prepared, target, number, observation)
                        self._judge(prepared)
            except EmulatorError as error:
                reason = f"{error}" + (f" ({error.hint})" if error.hint else "")
                for prepared in share:
                    if len(self._seen.get((prepared.case.name, target.name), [])) < self._plan.repeats:
                        self._refuse(prepared, target, Verdict.INCONCLUSIVE, reason)
                        self._judge(prepared)

    async def _keep(self, prepared: Prepared, target: Target, number: int, observation: Observation) -> None:
        """Store an observation at once, read its screen, and remember both for the judge."""
        name = prepared.case.name
        self._writer.add_observation(name, number, observation)
        screen = await asyncio.to_thread(read_screen, observation)
        self._writer.add_screen(name, target.name, number, screen)
        self._seen.setdefault((name, target.name), []).append(see(observation, screen))
        seconds = observation.seconds.get("whole", 0.0)
        tail = "" if observation.ending == Ending.FINISHED else f" ({observation.detail})"
        self._say(name, target.name, f"{observation.ending} after {seconds:.1f} s{tail}")

    def _refuse(self, prepared: Prepared, target: Target, verdict: Verdict, reason: str) -> None:
        self._refused[prepared.case.name, target.name] = Refusal(verdict, reason)
        self._say(prepared.case.name, target.name, f"{verdict}: {reason}")

    def _judge(self, prepared: Prepared) -> None:
        """Judge a case as soon as every target has given, or refused, all it will."""
        name = prepared.case.name
        sides = (self._plan.reference, *self._plan.subjects)
        if not all(self._done(name, side) for side in sides):
            return
        results: list[Result] = []
        reference = self._targets[self._plan.reference]
        for subject in (self._targets[side] for side in self._plan.subjects):
            refusal = self._refused.get((name, reference.name)) or self._refused.get((name, subject.name))
            names = names_of(reference), names_of(subject)
            manifest = prepared.case.manifest
            if refusal:
                results += missing(manifest, prepared.abouts, *names, refusal.verdict, refusal.reason)
            else:
                left = names[0], self._seen[name, reference.name]
                right = names[1], self._seen[name, subject.name]
                results += judge(manifest, prepared.abouts, left, right)
        self._results[name] = results
        self._writer.add_results(name, results)

    def _done(self, case: str, target: str) -> bool:
        return (case, target) in self._refused or len(self._seen.get((case, target), [])) >= self._plan.repeats
