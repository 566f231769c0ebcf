"""Looking at divergences again: the boots and readings that `difftest.judging.confirmation` makes a verdict of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from difftest.errors import StoreError, reason_of
from difftest.image.prepare import PreparedCase
from difftest.judging.confirmation import (
    OTHER_HOST,
    RERUN,
    SCREEN,
    Confirmation,
    Stage,
    StageOutcome,
    confirmed,
    doubted,
    stage_of,
)
from difftest.judging.judge import judge
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading
from difftest.reading.screen import read_again
from difftest.run.plan import Job, names_of
from difftest.run.runner import Run, on_cpu
from emulators.observation import Boot
from emulators.target import Target

Again = dict[tuple[str, str, str], list[int]]  # (case, target, stage) -> numbers of the boots that were made to confirm
Round = tuple[
    PreparedCase, int, str, Boot
]  # checks of a case, their place in Job.groups, the stage, and the boot to make


async def confirm(run: Run) -> None:
    """Look again at the divergences that nobody knows yet (or at all of them): see difftest.judging.confirmation."""
    doubts: dict[str, list[Result]] = {}
    for job in run.plan.jobs:
        name = job.prepared.case.name
        found = doubted(run.results[name], run.plan.confirm)
        if found:
            doubts[name] = found
    jobs = [job for job in run.plan.jobs if job.prepared.case.name in doubts]
    again: Again = {}
    run.boots.read_afresh = True
    async with asyncio.TaskGroup() as tasks:
        for target in (run.targets[name] for name in run.plan.targets() if jobs):
            concerned = [
                job
                for job in jobs
                if target.name in (run.plan.reference, *(one.subject.target for one in doubts[job.prepared.case.name]))
            ]
            # What a short cut showed is looked at again without it.
            for model, rounds in _rounds(target, concerned).items():
                tasks.create_task(_boot_again(run, on_cpu(target.thorough() or target, model), rounds, again))
            blamed = [job for job in concerned if any(_blames(one, target) for one in doubts[job.prepared.case.name])]
            other = target.other_host() if blamed else None
            for elsewhere in (other, other.host_cpu() if other else None):
                if elsewhere is not None:
                    rounds = [
                        (group, place, OTHER_HOST, group.boot())
                        for job in blamed
                        for place, group in enumerate(job.groups)
                    ]
                    tasks.create_task(_boot_again(run, elsewhere, rounds, again))
    for job in jobs:
        await _settle(run, job, doubts[job.prepared.case.name], again)


def _blames(result: Result, target: Target) -> bool:
    return any(side.target == target.name and side.role == Role.SUBJECT for side in result.wrong)


def _rounds(target: Target, jobs: Sequence[Job]) -> dict[str, list[Round]]:
    """The re-run of these cases on a target, and the boots on its variants, by emulated CPU."""
    rounds: dict[str, list[Round]] = {}
    for job in jobs:
        for place, group in enumerate(job.groups):
            plain = group.boot()
            stages = {RERUN: plain.machine, **target.variants(plain.machine)}
            rounds.setdefault(group.emulated_cpu, []).extend(
                (group, place, stage, msgspec.structs.replace(plain, machine=machine))
                for stage, machine in stages.items()
            )
    return rounds


async def _boot_again(run: Run, target: Target, rounds: Sequence[Round], again: Again) -> None:
    """Make these boots on one target. What breaks leaves the stages that it was for undone."""
    if not rounds:
        return
    async with run.slots:
        try:
            await asyncio.to_thread(target.prepare, lambda line: run.say("confirming", target.name, line))
            begin = target.session(
                [boot for _, _, _, boot in rounds], lambda line: run.say("confirming", target.name, line)
            )
            async with begin as session:
                for prepared, place, stage, boot in rounds:
                    run.say(prepared.case.name, target.name, f"to confirm a divergence: {stage}")
                    variant = "" if stage == RERUN else stage
                    repeat = run.plan.repeats
                    numbers = await run.boots.boot(prepared, target, session, boot, repeat, variant, first=place)
                    again.setdefault((prepared.case.name, target.name, stage), []).extend(numbers)
        except StoreError:
            raise
        except Exception as error:
            run.say("confirming", target.name, f"not possible: {reason_of(error)}")


async def _settle(run: Run, job: Job, doubts: Sequence[Result], again: Again) -> None:
    """Work out the stages of one case's divergences, keep them, and judge the case once more."""
    name = job.prepared.case.name
    for target in dict.fromkeys([run.plan.reference, *job.subjects, *(side for _, side, _ in again)]):
        await run.boots.read_screens(name, target)
    confirmations = []
    judged: dict[tuple[str, str], list[Result]] = {}  # by subject and stage
    for first in doubts:
        stages = [await _second_reading(run, name, first)]
        subject = first.subject.target
        for stage in [stage for case, side, stage in again if (case, side) == (name, subject)]:
            if (subject, stage) not in judged:
                judged[subject, stage] = judge(_pairing_of(run, job, subject, stage, again))
            results = judged[subject, stage]
            stages.append(stage_of(stage, first, next((one for one in results if one.check == first.check), None)))
        confirmations.append(Confirmation(check=first.check, subject=subject, stages=stages))
    run.writer.add_confirmations(name, confirmations)
    run.results[name] = confirmed(run.judged(job), confirmations)
    run.writer.add_results(name, run.results[name])


def _pairing_of(run: Run, job: Job, subject: str, stage: str, again: Again) -> Pairing:
    """The boots of one stage. A side that has no such variant takes part with its plain boot."""
    name, reference = job.prepared.case.name, run.plan.reference
    right = _first_repeat(run.boots.numbered(name, subject, again[name, subject, stage]))
    numbers = again.get((name, reference, stage))
    left = _first_repeat(
        run.boots.numbered(name, reference, numbers) if numbers else run.boots.readings(name, reference)
    )
    host, cpu = run.host(job, subject), run.hosts.get(subject)
    if stage == OTHER_HOST and cpu is not None and not isinstance(cpu, str):
        elsewhere = again.get((name, cpu.name, stage))
        host = SideBoots(
            role=Role.HOST_CPU,
            names=names_of(cpu),
            boots=run.boots.numbered(name, cpu.name, elsewhere) if elsewhere else (),
            missing="" if elsewhere else "the other CPU was not booted directly",
        )
    return run.pairing(job, subject, left, right, host)


def _first_repeat(boots: Sequence[BootReading]) -> list[BootReading]:
    """The first of repeated boots, as the first: a stage is one boot on each side."""
    first = min(reading.boot.repeat for reading in boots)
    return [
        msgspec.structs.replace(reading, boot=msgspec.structs.replace(reading.boot, repeat=0))
        for reading in boots
        if reading.boot.repeat == first
    ]


async def _second_reading(run: Run, name: str, first: Result) -> Stage:
    for target in (first.reference.target, first.subject.target):
        reading = run.boots.readings(name, target)[0]
        if not reading.screen.rows:
            return Stage(name=SCREEN, outcome=StageOutcome.UNKNOWN, detail=f"{target}: {reading.screen.problem}")
        problem = await asyncio.to_thread(read_again, reading.observation, reading.screen)
        if problem:
            return Stage(name=SCREEN, outcome=StageOutcome.DIFFERENT, detail=f"{target}: {problem}")
    return Stage(name=SCREEN, outcome=StageOutcome.SAME)
