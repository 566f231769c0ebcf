"""The main job: boots every case on every target, keeps each observation the moment it is made, judges, keeps the
verdicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from difftest.case.manifest import About, Manifest
from difftest.errors import StoreError, told
from difftest.image.prepare import Prepared
from difftest.judging.judge import judge, missing
from difftest.judging.result import Result
from difftest.judging.side import FATAL
from difftest.reading.screen import read_screen
from difftest.reading.screen_reading import ScreenReading
from difftest.reading.seen import Seen, see
from difftest.run.plan import Job, Plan, names_of
from difftest.run.store import RunWriter
from difftest.verdict import Verdict
from emulators.observation import Boot, Ending, Observation
from emulators.target import Names, Session, Target

UNREAD = ScreenReading(rows={}, problem="the screen was not read")
Say = Callable[[str, str, str], None]  # (case, target, one line of what happens)


class Refusal(msgspec.Struct, frozen=True):
    """Why a pair of case and target gives no observation: a missing capability, or a target that cannot be used."""

    verdict: Verdict
    reason: str


class Run:
    """A plan being done: every boot of it, and the results by case."""

    def __init__(self, plan: Plan, targets: Mapping[str, Target], writer: RunWriter, say: Say) -> None:
        self.plan = plan
        self.targets = targets
        self.writer = writer
        self.say = say
        self.slots = asyncio.Semaphore(plan.slots)
        self.read_afresh = plan.read_afresh
        self._kept: dict[tuple[str, str], list[Seen]] = {}  # every boot, by the number of its folder
        self._screens: dict[tuple[str, str], list[asyncio.Task[ScreenReading]]] = {}
        self._whole: dict[tuple[str, str], set[int]] = {}  # the repeats that were booted to their end
        self._refused: dict[tuple[str, str], Refusal] = {}
        self.results: dict[str, list[Result]] = {}

    async def boot_all(self) -> None:
        """Do all boots of the plan, and judge each case as soon as all of its boots are done."""
        await self._serve_all([(self.targets[name], self._wanted(self.targets[name])) for name in self.plan.targets()])
        for job in self.plan.jobs:
            self._judge(job)

    def _wanted(self, target: Target) -> list[Job]:
        """The jobs to be booted on a target; those that need what it lacks are refused."""
        wanted = []
        for job in self.plan.jobs:
            if target.name != self.plan.reference and target.name not in job.subjects:
                continue
            lacking = sorted(set(job.prepared.case.manifest.needs) - target.capabilities)
            if lacking:
                self._refuse(job, target, Verdict.SKIPPED, f"{target.name} has no {', '.join(lacking)}")
            else:
                wanted.append(job)
        return wanted

    async def _serve_all(self, work: Sequence[tuple[Target, Sequence[Job]]]) -> None:
        """Do all boots of each target's jobs, as many side by side as there are slots. A target whose start is dear
        gets one session for all its jobs, and gets it first; on the others each job has its own.
        """
        together = [(target, jobs) for target, jobs in work if target.shares_start and jobs]
        alone = [(target, [job]) for target, jobs in work if not target.shares_start for job in jobs]
        # A case after the other, on the reference a case later: its boots are short, and fill what is left of the last
        # long one.
        order = {job.prepared.case.name: number for number, job in enumerate(self.plan.jobs)}

        def turn(pair: tuple[Target, Sequence[Job]]) -> tuple[int, bool]:
            later = pair[0].name == self.plan.reference
            return order[pair[1][0].prepared.case.name] + later, later

        alone.sort(key=turn)
        async with asyncio.TaskGroup() as group:
            for target, jobs in (*together, *alone):
                group.create_task(self._serve(target, jobs, group))

    async def _serve(self, target: Target, share: Sequence[Job], group: asyncio.TaskGroup) -> None:
        """Boot these cases on one target, one after the other. What breaks becomes a result, never a lost case."""
        boots = [job.prepared.boot(self.plan.total_seconds) for job in share]
        current = share[0].prepared.case.name
        try:
            async with self.slots, target.session(boots, lambda line: self.say(current, target.name, line)) as session:
                for job, boot in zip(share, boots, strict=True):
                    current = job.prepared.case.name
                    await self._boot(job, target, session, boot)
                    group.create_task(self._finish(job, target))
        except Exception as error:
            for job in share:
                if not self._done(job.prepared.case.name, target.name):
                    self._refuse(job, target, Verdict.INCONCLUSIVE, told(error))
                    self._judge(job)

    async def _boot(self, job: Job, target: Target, session: Session, boot: Boot) -> None:
        """All boots of one case on one target. Whatever breaks here is this case's result and nobody else's."""
        try:
            for repeat in range(self.plan.repeats):
                await self.boot_whole(job.prepared, target, session, boot, repeat)
        except StoreError:
            raise  # a disk that takes nothing more concerns them all
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, told(error))

    async def boot_whole(
        self, prepared: Prepared, target: Target, session: Session, boot: Boot, repeat: int, variant: str = ""
    ) -> range:
        """Boot an image, and behind each check that kills the guest once more with the checks that are left.

        Returns the numbers of these boots.
        """
        first = len(self._kept.get((prepared.case.name, target.name), ()))
        seen = self._keep(prepared, target, await session.boot(boot), repeat, 0, variant)
        reported = set(seen.transcript.records)
        part = 0
        while seen.observation.ending in FATAL and (killer := seen.transcript.died_in()):
            reported |= {killer}
            left = [index for index, about in enumerate(prepared.abouts) if about.check not in reported]
            if not left or killer not in {about.check for about in prepared.abouts}:
                break
            part += 1
            self.say(
                prepared.case.name, target.name, f"{killer} killed the guest; booting the {len(left)} checks behind it"
            )
            rest = msgspec.structs.replace(prepared.only(left, self.plan.total_seconds), machine=boot.machine)
            seen = self._keep(prepared, target, await session.boot(rest), repeat, part, variant)
            reported |= set(seen.transcript.records)
        if not variant:
            self._whole.setdefault((prepared.case.name, target.name), set()).add(repeat)
        return range(first, first + part + 1)

    def _keep(
        self, prepared: Prepared, target: Target, observation: Observation, repeat: int, part: int, variant: str
    ) -> Seen:
        """Store an observation at once. Its screen is read meanwhile: no emulator waits for that."""
        name = prepared.case.name
        kept = self._kept.setdefault((name, target.name), [])
        observation = msgspec.structs.replace(observation, repeat=repeat, part=part, variant=variant)
        self.writer.add_observation(name, len(kept), observation)
        reading = asyncio.create_task(asyncio.to_thread(read_screen, observation, afresh=self.read_afresh))
        self._screens.setdefault((name, target.name), []).append(reading)
        kept.append(see(observation, UNREAD))
        seconds = observation.seconds.get("whole", 0.0)
        tail = "" if observation.ending == Ending.FINISHED else f" ({observation.detail})"
        self.say(name, target.name, f"{observation.ending} after {seconds:.1f} s{tail}")
        return kept[-1]

    async def _finish(self, job: Job, target: Target) -> None:
        """Wait for what is read off the screens of a case on a target, and judge the case if all is there."""
        try:
            await self.read_screens(job.prepared.case.name, target.name)
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, told(error))
        self._judge(job)

    async def read_screens(self, case: str, target: str) -> None:
        """Wait for what is read off the screens of a case on a target, and keep it."""
        kept = self._kept.get((case, target), [])
        for number, reading in enumerate(self._screens.get((case, target), [])):
            screen = await reading
            if kept[number].screen is UNREAD:
                self.writer.add_screen(case, target, number, screen)
                kept[number] = msgspec.structs.replace(kept[number], screen=screen)

    def seen(self, case: str, target: str) -> list[Seen]:
        """The boots that are judged: those of the plain machine."""
        return [seen for seen in self._kept.get((case, target), []) if not seen.observation.variant]

    def boots(self, case: str, target: str, numbers: range) -> list[Seen]:
        return [self._kept[case, target][number] for number in numbers]

    def _refuse(self, job: Job, target: Target, verdict: Verdict, reason: str) -> None:
        name = job.prepared.case.name
        self._refused[name, target.name] = Refusal(verdict, reason)
        self.say(name, target.name, f"{verdict}: {reason}")

    def _judge(self, job: Job) -> None:
        """Judge a case as soon as every target has given, or refused, all it will."""
        name = job.prepared.case.name
        if name in self.results or not all(self._done(name, side) for side in (self.plan.reference, *job.subjects)):
            return
        self.results[name] = self.judged(job)
        self.writer.add_results(name, self.results[name])

    def judged(self, job: Job) -> list[Result]:
        """The verdicts on all that was observed of a case by now."""
        name = job.prepared.case.name
        results: list[Result] = []
        for subject in job.subjects:
            refusal = self._refused.get((name, self.plan.reference)) or self._refused.get((name, subject))
            if refusal:
                results += missing(*self._of(job), *self._names(subject), refusal.verdict, refusal.reason)
            else:
                results += self.compared(job, subject, self.seen(name, self.plan.reference), self.seen(name, subject))
        return results

    def compared(self, job: Job, subject: str, left: Sequence[Seen], right: Sequence[Seen]) -> list[Result]:
        """The verdicts on these boots of the reference and of a subject."""
        reference_name, subject_name = self._names(subject)
        return judge(*self._of(job), (reference_name, left), (subject_name, right))

    def _names(self, subject: str) -> tuple[Names, Names]:
        return names_of(self.targets[self.plan.reference]), names_of(self.targets[subject])

    def _of(self, job: Job) -> tuple[Manifest, Sequence[About]]:
        return job.prepared.case.manifest, job.prepared.abouts

    def _done(self, case: str, target: str) -> bool:
        key = case, target
        unread = any(seen.screen is UNREAD for seen in self._kept.get(key, ()))
        return key in self._refused or (len(self._whole.get(key, ())) >= self.plan.repeats and not unread)
