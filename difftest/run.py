"""The main job: boots every case on every target, keeps each observation the moment it is made, judges, keeps the verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from difftest.judge import judge, missing
from difftest.plan import Job, Plan, Prepared, names_of
from difftest.result import Result
from difftest.screen import read_screen
from difftest.side import FATAL, Seen, see
from difftest.store import RunWriter, StoreError
from difftest.verdict import Verdict
from emulators.observation import Boot, Ending, Observation
from emulators.target import EmulatorError, Session, Target

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


class _Run:
    def __init__(self, plan: Plan, targets: Mapping[str, Target], writer: RunWriter, say: Say) -> None:
        self._plan = plan
        self._targets = targets
        self._writer = writer
        self._say = say
        self._slots = asyncio.Semaphore(plan.slots)
        self._seen: dict[tuple[str, str], list[Seen]] = {}
        self._whole: dict[tuple[str, str], set[int]] = {}  # the repeats that were booted to their end
        self._refused: dict[tuple[str, str], Refusal] = {}
        self._results: dict[str, list[Result]] = {}

    async def execute(self) -> list[Result]:
        async with asyncio.TaskGroup() as group:
            for name in self._plan.targets():
                for share in self._shares(self._targets[name]):
                    group.create_task(self._serve(self._targets[name], share))
        for job in self._plan.jobs:
            self._judge(job)
        return [result for job in self._plan.jobs for result in self._results[job.prepared.case.name]]

    def _shares(self, target: Target) -> list[list[Job]]:
        """The jobs that one session each will boot. A target whose start is dear gets one session for all; the others' are
        spread over the slots.
        """
        wanted = []
        for job in self._plan.jobs:
            if target.name != self._plan.reference and target.name not in job.subjects:
                continue
            lacking = sorted(set(job.prepared.case.manifest.needs) - target.capabilities)
            if lacking:
                self._refuse(job, target, Verdict.SKIPPED, f"{target.name} has no {', '.join(lacking)}")
            else:
                wanted.append(job)
        sessions = 1 if target.shares_start else self._plan.slots
        return [share for index in range(sessions) if (share := wanted[index::sessions])]

    async def _serve(self, target: Target, share: Sequence[Job]) -> None:
        """Boot these cases on one target, one after the other. What breaks becomes a result, never a lost case."""
        boots = [job.prepared.boot(self._plan.total_seconds) for job in share]
        async with self._slots:
            current = share[0].prepared.case.name
            try:
                async with target.session(boots, lambda line: self._say(current, target.name, line)) as session:
                    for job, boot in zip(share, boots, strict=True):
                        current = job.prepared.case.name
                        await self._boot(job, target, session, boot)
            except Exception as error:
                for job in share:
                    if not self._done(job.prepared.case.name, target.name):
                        self._refuse(job, target, Verdict.INCONCLUSIVE, _told(error))
                        self._judge(job)

    async def _boot(self, job: Job, target: Target, session: Session, boot: Boot) -> None:
        """All boots of one case on one target. Whatever breaks here is this case's result and nobody else's."""
        try:
            for repeat in range(self._plan.repeats):
                await self._boot_whole(job.prepared, target, session, boot, repeat)
        except StoreError:
            raise  # a disk that takes nothing more concerns them all
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, _told(error))
        self._judge(job)

    async def _boot_whole(self, prepared: Prepared, target: Target, session: Session, boot: Boot, repeat: int) -> None:
        """Boot an image, and behind each check that kills the guest once more with the checks that are left."""
        seen = await self._keep(prepared, target, await session.boot(boot), repeat, 0)
        reported = set(seen.transcript.records)
        part = 0
        while seen.observation.ending in FATAL and (killer := seen.transcript.died_in()):
            reported |= {killer}
            left = [index for index, about in enumerate(prepared.abouts) if about.check not in reported]
            if not left or killer not in {about.check for about in prepared.abouts}:
                break
            part += 1
            self._say(prepared.case.name, target.name, f"{killer} killed the guest; booting the {len(left)} checks behind it")
            rest = prepared.only(left, self._plan.total_seconds)
            seen = await self._keep(prepared, target, await session.boot(rest), repeat, part)
            reported |= set(seen.transcript.records)
        self._whole.setdefault((prepared.case.name, target.name), set()).add(repeat)

    async def _keep(self, prepared: Prepared, target: Target, observation: Observation, repeat: int, part: int) -> Seen:
        """Store an observation at once, read its screen, and remember both for the judge."""
        name = prepared.case.name
        kept = self._seen.setdefault((name, target.name), [])
        observation = msgspec.structs.replace(observation, repeat=repeat, part=part)
        self._writer.add_observation(name, len(kept), observation)
        screen = await asyncio.to_thread(read_screen, observation)
        self._writer.add_screen(name, target.name, len(kept), screen)
        kept.append(see(observation, screen))
        seconds = observation.seconds.get("whole", 0.0)
        tail = "" if observation.ending == Ending.FINISHED else f" ({observation.detail})"
        self._say(name, target.name, f"{observation.ending} after {seconds:.1f} s{tail}")
        return kept[-1]

    def _refuse(self, job: Job, target: Target, verdict: Verdict, reason: str) -> None:
        name = job.prepared.case.name
        self._refused[name, target.name] = Refusal(verdict, reason)
        self._say(name, target.name, f"{verdict}: {reason}")

    def _judge(self, job: Job) -> None:
        """Judge a case as soon as every target has given, or refused, all it will."""
        name = job.prepared.case.name
        if name in self._results or not all(self._done(name, side) for side in (self._plan.reference, *job.subjects)):
            return
        results: list[Result] = []
        reference = self._targets[self._plan.reference]
        for subject in (self._targets[side] for side in job.subjects):
            refusal = self._refused.get((name, reference.name)) or self._refused.get((name, subject.name))
            names = names_of(reference), names_of(subject)
            manifest, abouts = job.prepared.case.manifest, job.prepared.abouts
            if refusal:
                results += missing(manifest, abouts, *names, refusal.verdict, refusal.reason)
            else:
                left = names[0], self._seen[name, reference.name]
                right = names[1], self._seen[name, subject.name]
                results += judge(manifest, abouts, left, right)
        self._results[name] = results
        self._writer.add_results(name, results)

    def _done(self, case: str, target: str) -> bool:
        return (case, target) in self._refused or len(self._whole.get((case, target), ())) >= self._plan.repeats


def _told(error: Exception) -> str:
    """An exception as a verdict's reason. What no driver foresaw is named with its type, for the report to us."""
    if isinstance(error, EmulatorError):
        return f"{error}" + (f" ({error.hint})" if error.hint else "")
    return f"difftest itself failed: {type(error).__name__}: {error}"
