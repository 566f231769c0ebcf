"""Doing a plan: boot and judge everything, then confirm what diverges."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from difftest.judging.result import Result
from difftest.run.boots import Say
from difftest.run.confirm import confirm
from difftest.run.plan import Plan
from difftest.run.runner import Run
from difftest.run.writer import RunWriter
from emulators.target import Target


async def execute(
    plan: Plan,
    targets: Mapping[str, Target],
    writer: RunWriter,
    say: Say,
    hosts: Mapping[str, Target | str] | None = None,
) -> list[Result]:
    """Do the plan. Returns all results in the plan's order; everything is on disk by then. `hosts`: see Run.

    Cancelling ends all emulators; what was observed before stays.
    """
    run = Run(plan, targets, writer, say, hosts)
    async with contextlib.AsyncExitStack() as stack:
        for target in (*targets.values(), *(host for host in run.hosts.values() if not isinstance(host, str))):
            await stack.enter_async_context(target.sharing())
        await run.boot_all()
        await confirm(run)
    return [result for job in plan.jobs for result in run.results[job.prepared.case.name]]
