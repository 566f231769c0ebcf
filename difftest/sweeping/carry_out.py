"""From a command line to a sweep's folder: targets made ready, the sweep done, its findings booted again as checks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from difftest import __version__
from difftest.case.case import MANIFEST
from difftest.errors import CaseError, StoreError
from difftest.judging.confirmation import ConfirmScope
from difftest.run.lifecycle import run_cases
from difftest.run.progress import note
from difftest.run.request import Request
from difftest.run.writer import new_run_id
from difftest.sweeping.engine import SweepSide
from difftest.sweeping.image import build
from difftest.sweeping.page import summary, write_page
from difftest.sweeping.promote import write_case
from difftest.sweeping.stored import LATEST, StoredSweep
from difftest.sweeping.sweep import CPU, KVM, Sweep, SweepPlan, SweepResult
from difftest.sweeping.table import TABLE
from difftest.sweeping.vectors import VectorFacts
from difftest.verdict import ExitCode
from emulators.host.files import cache_folder
from emulators.registry import targets
from emulators.target import Target
from emulators.versions import Versions

TARGET = "kvm-hosted"
CASE = "sweep-findings"


class SweepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    families: Sequence[str]
    seed: int
    vectors: int
    seconds: float | None
    shard: tuple[int, int]
    resume: str
    versions: Versions
    confirm: bool
    quiet: bool
    results: Path
    command: list[str]


def carry_out(request: SweepRequest) -> tuple[ExitCode, list[str]]:
    """Do the sweep; the exit code, and the lines to print. Raises CaseError, StoreError and EmulatorError."""
    plan = _plan(request)
    every = targets(request.versions)
    kvm = every[TARGET]
    say = _silent if request.quiet else note
    kvm.prepare(say)
    cpu = kvm.host_cpu()
    if cpu is None:
        raise CaseError(f"{TARGET} has no emulated CPU under it that could be asked")
    cpu.prepare(say)
    identities = {KVM: kvm.identity(), CPU: cpu.identity()}
    folder = _folder(request, plan, identities)
    result = SweepResult(
        plan=plan, status="interrupted", facts=VectorFacts(0, 0, 0), identities=identities,
        command=tuple(request.command), tool_version=__version__,
    )  # fmt: skip
    result.keep(folder)
    try:
        result = asyncio.run(_done(plan, result, folder, cpu, kvm, quiet=request.quiet))
    except (KeyboardInterrupt, asyncio.CancelledError):
        note(f"interrupted; what is finished is kept: difftest sweep --resume {folder.name}")
        return ExitCode.INTERRUPTED, []
    result.keep(folder)
    code, lines = _confirmed(request, result, folder) if request.confirm else (_code(result), [])
    stored = StoredSweep(folder)
    page = write_page(stored)
    return code, [*summary(stored), *lines, f"page: {page}"]


async def _done(
    plan: SweepPlan, result: SweepResult, folder: Path, cpu: Target, kvm: Target, *, quiet: bool
) -> SweepResult:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    say = _silent if quiet else note
    images = folder / "images"
    images.mkdir(exist_ok=True)
    total = sum(count for _, _, count in plan.pieces())

    def progress(done: int, seconds: float) -> None:
        rate = done / max(seconds, 0.001)
        say(f"{done} of {total} vectors, {rate:.0f} a second, {(total - done) / max(rate, 0.001):.0f} s left")

    try:
        image = build(cache_folder(), images)
        sides = [SweepSide(name, target, image, say) for name, target in ((CPU, cpu), (KVM, kvm))]
        async with contextlib.AsyncExitStack() as stack:
            for target in (cpu, kvm):
                await stack.enter_async_context(target.sharing())
            facts, families, whole = await Sweep(plan, sides[0], sides[1], folder, say, progress).run()
    finally:
        shutil.rmtree(images, ignore_errors=True)
    status = "finished" if whole else "stopped"
    return msgspec.structs.replace(result, facts=facts, families=tuple(families), status=status)


def _plan(request: SweepRequest) -> SweepPlan:
    if request.resume:
        plan = StoredSweep.find(request.results, request.resume).result.plan
        if plan.generator != TABLE.version:
            raise StoreError(
                f"{request.resume} has vectors of generator {plan.generator}, this difftest makes those of "
                f"{TABLE.version}",
                hint="begin the sweep again",
            )
        return msgspec.structs.replace(plan, seconds=request.seconds)
    for family in request.families:
        if family not in TABLE.families:
            raise CaseError(f"no family is called {family}", hint=f"families: {', '.join(TABLE.families)}")
    return SweepPlan(
        families=tuple(request.families) or tuple(TABLE.families),
        seed=request.seed,
        vectors=request.vectors,
        seconds=request.seconds,
        shard=request.shard,
    )


def _folder(request: SweepRequest, plan: SweepPlan, identities: dict[str, dict[str, str]]) -> Path:
    """The sweep's folder: a new one, or the one to go on with."""
    if request.resume:
        stored = StoredSweep.find(request.results, request.resume)
        if stored.result.identities != identities:
            raise CaseError(
                f"{request.resume} ran on other programs or another kernel",
                hint="give the same --kernel, --host-bochs and so on as then",
            )
        return stored.folder
    folder = request.results / f"sweep-{new_run_id()}"
    folder.mkdir(parents=True)
    link = request.results / f".{LATEST}-{secrets.token_hex(4)}"
    link.symlink_to(folder.name)
    link.replace(request.results / LATEST)
    return folder


def _confirmed(request: SweepRequest, result: SweepResult, folder: Path) -> tuple[ExitCode, list[str]]:
    """Boot the findings as checks of a case, by an ordinary run: the reference, KVM, the CPU under it; cold again what
    diverges.
    """
    findings = [finding for family in result.families for finding in family.findings]
    if not findings:
        return _code(result), []
    case = folder / CASE
    shutil.rmtree(case, ignore_errors=True)
    write_case(case, findings, result.facts)
    assert (case / MANIFEST).is_file()
    code, run = run_cases(
        Request(
            cases=[str(case)],
            groups=[],
            checks=[],
            targets=[TARGET],
            versions=request.versions,
            jobs=2,
            timeout=None,
            repeats=1,
            results=request.results,
            folders=[],
            quiet=request.quiet,
            confirm=ConfirmScope.NEW,
            command=request.command,
        )
    )
    if run is None:
        return ExitCode.INTERRUPTED, []
    msgspec.structs.replace(result, confirmed_by=run.folder.name).keep(folder)
    return code, [f"as checks: difftest report {run.folder.name}"]


def _code(result: SweepResult) -> ExitCode:
    """The exit code of a sweep whose findings were not booted again, or that has none."""
    if any(family.findings for family in result.families):
        return ExitCode.DIVERGED
    unseen = any(family.unrun or family.history or family.unasked for family in result.families)
    return ExitCode.NO_VERDICT if unseen or not any(family.vectors for family in result.families) else ExitCode.EXPECTED


def _silent(line: str) -> None:
    del line
