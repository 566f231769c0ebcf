"""The life of a run: made, done, interrupted perhaps, and closed."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import platform
import signal
from collections.abc import Sequence

from difftest import __version__
from difftest.case.case import BUNDLED, Case
from difftest.judging.result import Result
from difftest.run.execute import execute
from difftest.run.metadata import CaseSnapshot, HostCpuTarget, Meta
from difftest.run.plan import Job, names_of
from difftest.run.progress import Progress, note
from difftest.run.request import ReadyRun, Request, made_ready
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter, new_run_id, now
from difftest.verdict import ExitCode, exit_code

LOAD_AHEAD_SECONDS = 0.3  # after the start of a run: by then its first emulators are on their way


def run_cases(request: Request) -> tuple[ExitCode, StoredRun | None]:
    """Do the run. Raises CaseError, StoreError and EmulatorError for what keeps it from starting.

    An interrupted run is closed as such; its finished cases can be reported.
    """
    return carry_out(made_ready(request))


def carry_out(ready: ReadyRun) -> tuple[ExitCode, StoredRun | None]:
    """Boot, judge and keep it all. Raises StoreError; see `run_cases`."""
    request, plan, taking_part = ready.request, ready.plan, ready.targets
    known = {**taking_part, **{host.name: host for host in ready.hosts.values() if not isinstance(host, str)}}
    meta = Meta(
        run=new_run_id(),
        tool_version=__version__,
        command=request.command,
        series=request.series,
        started=now(),
        host=_host(),
        reference=plan.reference,
        targets={name: names_of(target) for name, target in known.items()},
        identities={name: target.identity() for name, target in known.items()},
        hosts={
            name: HostCpuTarget(missing=host) if isinstance(host, str) else HostCpuTarget(target=host.name)
            for name, host in ready.hosts.items()
        },
        idle=ready.idle,
    )
    writer = RunWriter.create(request.results, meta)
    status = "interrupted"
    try:
        with Progress(quiet=request.quiet) as progress:
            results = asyncio.run(_cancellable(ready, writer, progress))
        status = "finished"
    except (KeyboardInterrupt, asyncio.CancelledError):
        note(f"interrupted; what is finished is kept: difftest report {meta.run}")
        return ExitCode.INTERRUPTED, None
    finally:
        writer.finish(status)
    stored = StoredRun.open(request.results / meta.run)
    code = exit_code(results, allow_skips=request.allow_skips)
    if code != exit_code(results, allow_skips=True):
        reasons = "; ".join(dict.fromkeys(result.reason for result in results if result.refused))
        note(f"exit code {code}: {reasons or 'nothing was compared'} (--allow-skips allows that)")
    return code, stored


async def _cancellable(ready: ReadyRun, writer: RunWriter, progress: Progress) -> list[Result]:
    """The run, cancelled by SIGTERM and SIGHUP as asyncio cancels it by SIGINT: every emulator is ended on the way
    out.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    # The first emulators do not wait for the disk to have taken the images.
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(_keep_cases, writer, ready.plan.jobs))
        ahead = group.create_task(_load_ahead(reads=ready.plan.read_afresh))
        try:
            return await execute(ready.plan, ready.targets, writer, progress.say, ready.hosts)
        finally:
            ahead.cancel()


def _keep_cases(writer: RunWriter, jobs: Sequence[Job]) -> None:
    for job in jobs:
        _snapshot(writer, job)


async def _load_ahead(*, reads: bool) -> None:
    """What the report takes is loaded while emulators run, and when screens are to be read again, what reads them."""
    await asyncio.sleep(LOAD_AHEAD_SECONDS)
    for module in ("difftest.report.terminal", *(["pytesseract"] if reads else [])):
        await asyncio.to_thread(importlib.import_module, module)


def _snapshot(writer: RunWriter, job: Job) -> None:
    prepared = job.prepared
    case = prepared.case
    # What `difftest run` takes to find the case again: a bundled one by name, all else by its path.
    if not case.text:
        argument = str(case.folder / case.manifest.image)
    else:
        argument = case.name if case.folder.parent == BUNDLED else str(case.folder)
    snapshot = CaseSnapshot(
        name=case.name,
        title=case.manifest.title,
        manifest=case.text or (_machine_of(case) if case.options.words() else ""),
        image_sha256=prepared.sha256,
        image_bytes=prepared.image.stat().st_size,
        argument=argument,
        checks=list(prepared.abouts),
        whole=prepared.whole,
        medium=prepared.medium,
        second_sha256=prepared.second_sha256,
        options=case.options.words(),
    )
    writer.add_case(snapshot, prepared.image)


def _machine_of(case: Case) -> str:
    """A manifest of an image that has none, by which a stored run shows on what machine it was booted."""
    manifest = case.manifest
    keys = ("name", "title", "image", "end", "end_screen", "volatile")
    lines = [f"{key} = {json.dumps(getattr(manifest, key), ensure_ascii=False)}" for key in keys]
    return "\n".join([*lines, f"memory_mib = {manifest.memory_mib}", f"cpus = {manifest.cpus}"]) + "\n"


def _host() -> dict[str, str]:
    from emulators.qemu.host_kvm import host_cpu

    return {
        "kernel": os.uname().release,
        "arch": os.uname().machine,
        "python": platform.python_version(),
        "cpu": host_cpu(),
        "cpus": str(os.cpu_count()),
    }
