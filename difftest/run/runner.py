"""The main job: boots every case on every target, keeps each observation when it is made, judges, keeps the
verdicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set

from difftest.errors import StoreError, reason_of
from difftest.judging.judge import judge, missing
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading
from difftest.run.boots import Boots, Say
from difftest.run.metadata import Refusal
from difftest.run.plan import Job, Plan, names_of
from difftest.run.writer import RunWriter
from difftest.verdict import MEANINGS, Verdict
from emulators.observation import Boot
from emulators.target import Session, Target

# cases to be booted in one session, with the place of the group of checks in Job.groups
Share = Sequence[tuple[Job, int]]


class Run:
    """A plan being done: every boot of it, and the results by case."""

    def __init__(
        self,
        plan: Plan,
        targets: Mapping[str, Target],
        writer: RunWriter,
        say: Say,
        hosts: Mapping[str, Target | str] | None = None,
    ) -> None:
        """`hosts` has, by subject, the CPU under it as a target of its own, or why that cannot be had."""
        self.plan = plan
        self.targets = targets
        self.hosts = hosts or {}
        self.writer = writer
        self.say = say
        self.slots = asyncio.Semaphore(plan.slots)
        self.boots = Boots(writer, say, read_afresh=plan.read_afresh)
        self.results: dict[str, list[Result]] = {}
        self._whole: dict[tuple[str, str], set[tuple[int, int]]] = {}  # (repeat, group) that were booted to their end
        self._groups = {job.prepared.case.name: job.groups for job in plan.jobs}
        self._refused: dict[tuple[str, str], Refusal] = {}
        self._judging = asyncio.Lock()

    async def boot_all(self) -> None:
        """Do all boots of the plan, and judge each case as soon as all of its boots are done."""
        work: list[tuple[Target, Share]] = []
        for name in self.plan.targets():
            target, by_cpu = self.targets[name], dict[str, list[tuple[Job, int]]]()
            for job in self._wanted(target):
                for place, group in enumerate(self._groups[job.prepared.case.name]):
                    by_cpu.setdefault(group.emulated_cpu, []).append((job, place))
            work += [(on_cpu(target, model), share) for model, share in by_cpu.items()]
        await self._serve_all(work)
        for job in self.plan.jobs:
            await self._judge(job)

    def _wanted(self, target: Target) -> list[Job]:
        """The jobs to be booted on a target; those that need what it lacks are refused."""
        wanted = []
        for job in self.plan.jobs:
            if target.name != self.plan.reference and target.name not in job.subjects:
                continue
            if skipped := job.prepared.case.manifest.skipped:
                self._refuse(job, target, Verdict.SKIPPED, skipped)
                continue
            lacking = sorted(set(job.prepared.case.manifest.needs) - target.capabilities)
            if lacking:
                self._refuse(job, target, Verdict.SKIPPED, f"{target.name} has no {', '.join(lacking)}")
            else:
                wanted.append(job)
        return wanted

    async def _serve_all(self, work: Sequence[tuple[Target, Share]]) -> None:
        """Do all boots of each target's jobs, as many side by side as there are slots. A target that is expensive to
        start gets one session for all its jobs, and gets it first; on the others each job has its own.
        """
        together = [(target, share) for target, share in work if target.shares_start]
        alone = [(target, [one]) for target, share in work if not target.shares_start for one in share]
        # Case by case, on the reference a case later: its boots are short, and fill what is left of the last long one.
        order = {job.prepared.case.name: number for number, job in enumerate(self.plan.jobs)}

        def turn(pair: tuple[Target, Share]) -> tuple[int, bool]:
            later = pair[0].name == self.plan.reference
            return order[pair[1][0][0].prepared.case.name] + later, later

        alone.sort(key=turn)
        async with asyncio.TaskGroup() as group:
            for target, share in (*together, *alone):
                group.create_task(self._serve(target, share, group))

    async def _serve(self, target: Target, share: Share, group: asyncio.TaskGroup) -> None:
        """Boot these cases on one target, one after the other. What breaks becomes a result, never a lost case."""
        boots = [self._groups[job.prepared.case.name][place].boot() for job, place in share]
        current = share[0][0].prepared.case.name
        try:
            async with self.slots, target.session(boots, lambda line: self.say(current, target.name, line)) as session:
                for (job, place), boot in zip(share, boots, strict=True):
                    current = job.prepared.case.name
                    await self._boot(job, place, target, session, boot)
                    group.create_task(self._finish(job, target))
        except StoreError:
            raise
        except Exception as error:
            for job, _ in share:
                if not self._done(job.prepared.case.name, target.name):
                    self._refuse(job, target, Verdict.INCONCLUSIVE, reason_of(error))
                    group.create_task(self._judge(job))

    async def _boot(self, job: Job, place: int, target: Target, session: Session, boot: Boot) -> None:
        """All boots of one case on one target. Whatever breaks here is this case's result and nobody else's."""
        name = job.prepared.case.name
        try:
            for repeat in range(self.plan.repeats):
                await self.boots.boot(self._groups[name][place], target, session, boot, repeat, first=place)
                self._whole.setdefault((name, target.name), set()).add((repeat, place))
        except StoreError:
            raise  # a disk that takes nothing more concerns them all
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, reason_of(error))

    async def _finish(self, job: Job, target: Target) -> None:
        """Wait for what is read off the screens of a case on a target, and judge the case if all is there."""
        try:
            await self.boots.read_screens(job.prepared.case.name, target.name)
        except Exception as error:
            self._refuse(job, target, Verdict.INCONCLUSIVE, reason_of(error))
        await self._judge(job)

    def _refuse(self, job: Job, target: Target, verdict: Verdict, reason: str) -> None:
        name = job.prepared.case.name
        self._refused[name, target.name] = Refusal(target=target.name, verdict=verdict, reason=reason)
        self.say(name, target.name, f"{verdict}: {reason}")

    async def _judge(self, job: Job) -> None:
        """Judge a case as soon as every target has given, or refused, all it will. Where a subject fails or differs,
        the CPU under it is booted first.
        """
        name = job.prepared.case.name
        async with self._judging:
            done = all(self._done(name, side) for side in (self.plan.reference, *job.subjects))
            if name in self.results or not done:
                return
            self.results[name] = []
        for subject in job.subjects:
            if checks := {result.check for result in self._judged(job, subject) if _concerns_the_host(result)}:
                await self._boot_host(job, subject, checks)
        if refused := [refusal for (case, _), refusal in self._refused.items() if case == name]:
            self.writer.add_refusals(name, refused)
        self.results[name] = self.judged(job)
        self.writer.add_results(name, self.results[name])

    async def _boot_host(self, job: Job, subject: str, checks: Set[str]) -> None:
        """Boot a case with these of its checks on the CPU under a subject, unless that is the reference itself or
        cannot be had.
        """
        host, name = self.hosts.get(subject), job.prepared.case.name
        if host is None or isinstance(host, str) or self._reference_is(host, name):
            return
        if self.boots.any(name, host.name) or (name, host.name) in self._refused:
            return
        try:
            groups = self._groups[name]
            needed = {place for place, group in enumerate(groups) if checks & {about.check for about in group.abouts}}
            for place in sorted(needed) or range(len(groups)):
                group = groups[place]
                cpu, boot = on_cpu(host, group.emulated_cpu), group.boot()
                async with self.slots, cpu.session([boot], lambda line: self.say(name, host.name, line)) as session:
                    only = checks if needed else None
                    await self.boots.boot(group, cpu, session, boot, 0, first=place, checks=only)
            await self.boots.read_screens(name, host.name)
        except StoreError:
            raise
        except Exception as error:
            self._refuse(job, host, Verdict.INCONCLUSIVE, reason_of(error))

    def _reference_is(self, host: Target, case: str) -> bool:
        """Whether the reference's boots of a case were boots of the very CPU under the subject."""
        boots = self.boots.readings(case, self.plan.reference)
        identity = host.identity()
        return bool(boots) and all(boots[0].observation.identity.get(key) == one for key, one in identity.items())

    def judged(self, job: Job) -> list[Result]:
        """The verdicts on all that was observed of a case by now."""
        return [result for subject in job.subjects for result in self._judged(job, subject)]

    def _judged(self, job: Job, subject: str) -> list[Result]:
        name = job.prepared.case.name
        pairing = self.pairing(
            job,
            subject,
            self.boots.readings(name, self.plan.reference),
            self.boots.readings(name, subject),
            self.host(job, subject),
        )
        for target in (self.plan.reference, subject):
            if refusal := self._refused.get((name, target)):
                return missing(pairing, refusal.verdict, refusal.reason)
        return judge(pairing)

    def pairing(
        self, job: Job, subject: str, left: Sequence[BootReading], right: Sequence[BootReading], host: SideBoots | None
    ) -> Pairing:
        """These boots of the reference, of a subject, and of the CPU under it, as they are compared."""
        reference = names_of(self.targets[self.plan.reference])
        sides = [
            SideBoots(role=Role.REFERENCE, names=reference, boots=left),
            *([host] if host else []),
            SideBoots(role=Role.SUBJECT, names=names_of(self.targets[subject]), boots=right),
        ]
        prepared = job.prepared
        return Pairing(
            manifest=prepared.case.manifest, abouts=prepared.abouts, whole=prepared.whole, sides=tuple(sides)
        )

    def host(self, job: Job, subject: str) -> SideBoots | None:
        """What was observed of the CPU under a subject; None where there is none, or nobody has asked for it yet."""
        host, name = self.hosts.get(subject), job.prepared.case.name
        if host is None:
            return None
        reference = names_of(self.targets[self.plan.reference])
        if isinstance(host, str):
            return SideBoots(role=Role.HOST_CPU, names=reference, missing=host)
        if self._reference_is(host, name):
            return SideBoots(role=Role.HOST_CPU, names=reference, boots=self.boots.readings(name, self.plan.reference))
        if refusal := self._refused.get((name, host.name)):
            return SideBoots(role=Role.HOST_CPU, names=names_of(host), missing=refusal.reason)
        boots = self.boots.readings(name, host.name)
        return SideBoots(role=Role.HOST_CPU, names=names_of(host), boots=boots) if boots else None

    def _done(self, case: str, target: str) -> bool:
        key = case, target
        boots = self.plan.repeats * len(self._groups[case])
        return key in self._refused or (len(self._whole.get(key, ())) >= boots and not self.boots.unread(case, target))


def on_cpu(target: Target, model: str) -> Target:
    """A target with the emulated CPU that some checks need; "" is the one that it has."""
    return target.on_cpu(model) if model else target


def _concerns_the_host(result: Result) -> bool:
    """Whether what the CPU under the subject does may change a verdict: the subject fails or differs, or all sides
    died.
    """
    return result.subject.status.bad or (
        MEANINGS[result.verdict].diverges and result.verdict != Verdict.REFERENCE_WRONG
    )
