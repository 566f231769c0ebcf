"""The main job: boots every case on every target, keeps each observation the moment it is made, judges, keeps the verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from difftest.judge import judge, missing
from difftest.plan import Job, Plan, Prepared, names_of
from difftest.reading import ScreenReading
from difftest.result import Result
from difftest.screen import read_screen
from difftest.side import FATAL, Seen, see
from difftest.store import RunWriter, StoreError
from difftest.verdict import Verdict
from emulators.observation import Boot, Ending, Observation
from emulators.target import EmulatorError, Session, Target

UNREAD = ScreenReading(rows={}, problem="the screen was not read")
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
        self._screens: dict[tuple[str, str], list[asyncio.Task[ScreenReading]]] = {}
        self._whole: dict[tuple[str, str], set[int]] = {}  # the repeats that were booted to their end
        self._refused: dict[tuple[str, str], Refusal] = {}
        self._results: dict[str, list[Result]] = {}

    async def execute(self) -> list[Result]:
        repeats = range(self._plan.repeats)
        await self._serve_all(
            [(self._targets[name], self._wanted(self._targets[name])) for name in self._plan.targets()], repeats
        )
        for job in self._plan.jobs:
            self._judge(job)
        await self._confirm()
        return [result for job in self._plan.jobs for result in self._results[job.prepared.case.name]]

    def _wanted(self, target: Target) -> list[Job]:
        """The jobs to be booted on a target; those that need what it lacks are refused."""
        wanted = []
        for job in self._plan.jobs:
            if target.name != self._plan.reference and target.name not in job.subjects:
                continue
            lacking = sorted(set(job.prepared.case.manifest.needs) - target.capabilities)
            if lacking:
                self._refuse(job, target, Verdict.SKIPPED, f"{target.name} has no {', '.join(lacking)}")
            else:
                wanted.append(job)
        return wanted

    async def _serve_all(self, work: Sequence[tuple[Target, Sequence[Job]]], repeats: range) -> None:
        """Do all boots of each target's jobs, as many side by side as there are slots. A target whose start is dear gets one
        session for all its jobs, and gets it first; on the others each job has its own.
        """
        together = [(target, jobs) for target, jobs in work if target.shares_start and jobs]
        alone = [(target, [job]) for target, jobs in work if not target.shares_start for job in jobs]
        alone.sort(key=lambda pair: self._plan.jobs.index(pair[1][0]))  # all targets of a case, then the next case
        async with asyncio.TaskGroup() as group:
            for target, jobs in (*together, *alone):
                group.create_task(self._serve(target, jobs, repeats, group))

    async def _confirm(self) -> None:
        """Boot once more where a target shows a new divergence by way of a short cut (see `Target.thorough`), and there without
        it. The boot counts as a repeated one: a divergence that is not there again is a flaky one.
        """
        doubtful: dict[str, list[Job]] = {}
        for job in self._plan.jobs:
            for result in self._results[job.prepared.case.name]:
                jobs = doubtful.setdefault(result.subject, [])
                if result.diverges and not result.expected and job not in jobs:
                    jobs.append(job)
        work = [(thorough, doubtful[name]) for name in doubtful if (thorough := self._targets[name].thorough()) is not None]
        work = [(target, jobs) for target, jobs in work if jobs]
        again = [job for job in self._plan.jobs if any(job in jobs for _, jobs in work)]
        if not again:
            return
        for target, jobs in work:
            for job in jobs:
                self._say(job.prepared.case.name, target.name, "a new divergence: once more after a cold start")
        next_repeat = range(self._plan.repeats, self._plan.repeats + 1)
        await self._serve_all([*work, (self._targets[self._plan.reference], again)], next_repeat)
        for job in again:
            self._results.pop(job.prepared.case.name)
            self._judge(job)

    async def _serve(self, target: Target, share: Sequence[Job], repeats: range, group: asyncio.TaskGroup) -> None:
        """Boot these cases on one target, one after the other. What breaks becomes a result, never a lost case."""
        boots = [job.prepared.boot(self._plan.total_seconds) for job in share]
        current = share[0].prepared.case.name
        try:
            async with self._slots, target.session(boots, lambda line: self._say(current, target.name, line)) as session:
                for job, boot in zip(share, boots, strict=True):
                    current = job.prepared.case.name
                    await self._boot(job, target, session, boot, repeats)
                    group.create_task(self._finish(job, target))
        except Exception as error:
            for job in share:
                if not self._done(job.prepared.case.name, target.name):
                    self._refuse(job, target, Verdict.INCONCLUSIVE, _told(error))
                    self._judge(job)

    async def _boot(self, job: Job, target: Target, session: Session, boot: Boot, repeats: range) -> None:
        """Boots of one case on one target. Whatever breaks here is this case's result and nobody else's."""
        try:
            for repeat in repeats:
                await self._boot_whole(job.prepared, target, session, boot, repeat)
        except StoreError:
            raise  # a disk that takes nothing more concerns them all
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, _told(error))

    async def _boot_whole(self, prepared: Prepared, target: Target, session: Session, boot: Boot, repeat: int) -> None:
        """Boot an image, and behind each check that kills the guest once more with the checks that are left."""
        seen = self._keep(prepared, target, await session.boot(boot), repeat, 0)
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
            seen = self._keep(prepared, target, await session.boot(rest), repeat, part)
            reported |= set(seen.transcript.records)
        self._whole.setdefault((prepared.case.name, target.name), set()).add(repeat)

    def _keep(self, prepared: Prepared, target: Target, observation: Observation, repeat: int, part: int) -> Seen:
        """Store an observation at once. Its screen is read meanwhile: no emulator waits for that."""
        name = prepared.case.name
        kept = self._seen.setdefault((name, target.name), [])
        observation = msgspec.structs.replace(observation, repeat=repeat, part=part)
        self._writer.add_observation(name, len(kept), observation)
        reading = asyncio.create_task(asyncio.to_thread(read_screen, observation))
        self._screens.setdefault((name, target.name), []).append(reading)
        kept.append(see(observation, UNREAD))
        seconds = observation.seconds.get("whole", 0.0)
        tail = "" if observation.ending == Ending.FINISHED else f" ({observation.detail})"
        self._say(name, target.name, f"{observation.ending} after {seconds:.1f} s{tail}")
        return kept[-1]

    async def _finish(self, job: Job, target: Target) -> None:
        """Wait for what is read off the screens of a case on a target, keep it, and judge the case if all is there."""
        key = job.prepared.case.name, target.name
        try:
            for number, reading in enumerate(self._screens.get(key, [])):
                screen = await reading
                if self._seen[key][number].screen is UNREAD:
                    self._writer.add_screen(*key, number, screen)
                    self._seen[key][number] = msgspec.structs.replace(self._seen[key][number], screen=screen)
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, _told(error))
        self._judge(job)

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
        key = case, target
        unread = any(seen.screen is UNREAD for seen in self._seen.get(key, ()))
        return key in self._refused or (len(self._whole.get(key, ())) >= self._plan.repeats and not unread)


def _told(error: Exception) -> str:
    """An exception as a verdict's reason. What no driver foresaw is named with its type, for the report to us."""
    if isinstance(error, EmulatorError):
        return f"{error}" + (f" ({error.hint})" if error.hint else "")
    return f"difftest itself failed: {type(error).__name__}: {error}"
