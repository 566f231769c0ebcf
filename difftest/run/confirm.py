"""Looking at divergences again: the boots and readings that `difftest.judging.confirmation` makes a verdict of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from difftest.errors import StoreError, told
from difftest.judging.confirmation import RERUN, SCREEN, Confirmation, Outcome, Stage, doubted, settled, stage_of
from difftest.judging.result import Result
from difftest.judging.side import by_repeat
from difftest.reading.screen import read_again
from difftest.reading.seen import Parts
from difftest.run.plan import Job
from difftest.run.runner import Run
from emulators.target import Target

Again = dict[tuple[str, str, str], range]  # (case, target, stage) -> numbers of the boots that were made to confirm


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
    run.read_afresh = True
    async with asyncio.TaskGroup() as group:
        for target in (run.targets[name] for name in run.plan.targets() if jobs):
            taking_part = [
                job
                for job in jobs
                if target.name in (run.plan.reference, *(result.subject for result in doubts[job.prepared.case.name]))
            ]
            # What a short cut showed is looked at again without it.
            group.create_task(_boot_again(run, target.thorough() or target, taking_part, again))
    for job in jobs:
        await _settle(run, job, doubts[job.prepared.case.name], again)


async def _boot_again(run: Run, target: Target, jobs: Sequence[Job], again: Again) -> None:
    """The re-run and the variants of these cases on one target. What breaks leaves the stages that it was for
    undone.
    """
    rounds = []
    for job in jobs:
        plain = job.prepared.boot(run.plan.total_seconds)
        rounds.append((job.prepared, RERUN, plain))
        for variant, machine in target.variants(plain.machine).items():
            rounds.append((job.prepared, variant, msgspec.structs.replace(plain, machine=machine)))
    if not rounds:
        return
    async with run.slots:
        try:
            begin = target.session(
                [boot for _, _, boot in rounds], lambda line: run.say("confirming", target.name, line)
            )
            async with begin as session:
                for prepared, stage, boot in rounds:
                    run.say(prepared.case.name, target.name, f"to confirm a divergence: {stage}")
                    variant = "" if stage == RERUN else stage
                    numbers = await run.boot_whole(prepared, target, session, boot, run.plan.repeats, variant)
                    again[prepared.case.name, target.name, stage] = numbers
        except StoreError:
            raise
        except Exception as error:
            run.say("confirming", target.name, f"not possible: {told(error)}")


async def _settle(run: Run, job: Job, doubts: Sequence[Result], again: Again) -> None:
    """Work out the stages of one case's divergences, keep them, and judge the case once more."""
    name = job.prepared.case.name
    reference = run.plan.reference
    for target in (reference, *job.subjects):
        await run.read_screens(name, target)
    confirmations = []
    for first in doubts:
        stages = [await _second_reading(run, name, first)]
        tried = [stage for case, side, stage in again if (case, side) == (name, first.subject)]
        for stage in tried:
            # Where the reference has no such variant, its plain boot is what the subject's is held against.
            numbers = again.get((name, reference, stage))
            left: Parts = run.boots(name, reference, numbers) if numbers else by_repeat(run.seen(name, reference))[0]
            right = run.boots(name, first.subject, again[name, first.subject, stage])
            results = run.compared(job, first.subject, left, right)
            stages.append(stage_of(stage, first, next((one for one in results if one.check == first.check), None)))
        confirmations.append(Confirmation(check=first.check, subject=first.subject, stages=stages))
    run.writer.add_confirmations(name, confirmations)
    run.results[name] = settled(run.judged(job), confirmations)
    run.writer.add_results(name, run.results[name])


async def _second_reading(run: Run, name: str, first: Result) -> Stage:
    for target in (first.reference, first.subject):
        seen = run.seen(name, target)[0]
        if not seen.screen.rows:
            return Stage(name=SCREEN, outcome=Outcome.UNKNOWN, detail=f"{target}: {seen.screen.problem}")
        problem = await asyncio.to_thread(read_again, seen.observation, seen.screen)
        if problem:
            return Stage(name=SCREEN, outcome=Outcome.DIFFERENT, detail=f"{target}: {problem}")
    return Stage(name=SCREEN, outcome=Outcome.SAME)
