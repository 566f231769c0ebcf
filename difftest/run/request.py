"""What the command line asked for, and the run that comes of it: cases, targets, and whether all can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from difftest.case.case import MANIFEST, Case, load, of_image
from difftest.case.image_options import ImageOptions
from difftest.case.selection import bundled, find, select
from difftest.case.suite import is_suite
from difftest.errors import CaseError
from difftest.image.prepare import PreparedCase, prepare, with_checks
from difftest.judging.confirmation import ConfirmScope
from difftest.run.plan import Job, Plan, fall_back, subjects_for
from difftest.run.progress import note
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.files import cache_folder
from emulators.registry import RECORDS_EXITS, needed, targets
from emulators.target import Target
from emulators.versions import Versions, given


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    cases: Sequence[str]
    image: ImageOptions = ImageOptions()  # of the images among them
    groups: Sequence[str]
    checks: Sequence[str]
    targets: Sequence[str]
    versions: Versions = {}
    cold: bool = False
    exits: bool = False  # record which VM exits L0 handles
    jobs: int
    timeout: float | None
    repeats: int
    results: Path
    folders: Sequence[Path]
    quiet: bool
    confirm: ConfirmScope = ConfirmScope.NONE
    allow_skips: bool = False
    command: list[str]
    series: str = ""  # see Meta


class ReadyRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that can start: images built, kernels and emulators fetched."""

    request: Request
    plan: Plan
    targets: dict[str, Target]
    hosts: dict[str, Target | str]  # by subject: the CPU under it as a target of its own, or why it cannot be had
    idle: dict[str, list[str]]  # see Meta


def made_ready(request: Request) -> ReadyRun:
    """Build and fetch what the run takes. Raises CaseError and EmulatorError for what cannot be had; nothing is
    booted.
    """
    every = targets(request.versions, cold=request.cold, exits=request.exits)
    asked = request.targets or needed(request.versions) or ((RECORDS_EXITS,) if request.exits else ())
    jobs = tuple(
        Job(prepared=prepared, subjects=subjects_for(prepared.case, every, asked)) for prepared in images(request)
    )
    plan = Plan(
        jobs=jobs,
        slots=request.jobs,
        repeats=request.repeats,
        confirm=request.confirm,
        read_afresh=request.cold,
    )
    taking_part = {name: every[name] for name in plan.targets()}
    for option in given(request.versions):
        if not set(option.targets) & set(taking_part):
            names = " or ".join(option.targets)
            raise CaseError(f"{option.flag} is for {names}, which does not take part", hint=f"--target {names}")
    if request.exits and RECORDS_EXITS not in taking_part:
        raise CaseError(f"--exits is for {RECORDS_EXITS}, which does not take part", hint=f"--target {RECORDS_EXITS}")
    for target in taking_part.values():
        target.prepare(lambda line: None if request.quiet else note(line))
    if not asked and (line := fall_back(jobs, every)):
        note(line)
    for job in jobs:
        if not job.prepared.case.text and not request.quiet:
            for sentence in job.prepared.remarks:
                note(f"{job.prepared.case.name}: {sentence}")
    for job in jobs:
        _check_models(job, plan.reference, every)
    hosts = _hosts(taking_part, quiet=request.quiet)
    return ReadyRun(request=request, plan=plan, targets=taking_part, hosts=hosts, idle=_idle(taking_part, every))


def _hosts(taking_part: Mapping[str, Target], *, quiet: bool) -> dict[str, Target | str]:
    """The CPU under each target that has an emulated one. One that cannot be had is the reason why it is not
    observed.
    """
    hosts: dict[str, Target | str] = {}
    for name, target in taking_part.items():
        host = target.host_cpu()
        if host is None:
            continue
        try:
            host.prepare(lambda line: None if quiet else note(line))
            hosts[name] = host
        except EmulatorError as error:
            hosts[name] = f"{error}" + (f" ({error.hint})" if error.hint else "")
    return hosts


def _check_models(job: Job, reference: str, every: Mapping[str, Target]) -> None:
    """Raises CaseError when the case asks for a CPU model that one of its targets does not have."""
    case = job.prepared.case
    if strange := [name for name in case.manifest.cpu_models if name not in every]:
        raise CaseError(
            f"{case.name}: cpu_models: no target is called {strange[0]}", hint=f"targets: {', '.join(every)}"
        )
    emulated = [group.emulated_cpu for group in job.groups if group.emulated_cpu]
    for name in (reference, *job.subjects):
        try:
            every[name].check(case.machine())
            for model in emulated:
                every[name].on_cpu(model).prepare(lambda line: None)
        except ChoiceError as error:
            raise CaseError(f"{case.name}: {name}: {error}", hint=error.hint) from error


def images(request: Request) -> list[PreparedCase]:
    """Build or copy the images of the cases that were asked for. Raises CaseError."""
    chosen = _chosen(request)
    if not chosen:
        raise CaseError("nothing is selected", hint="`difftest list` shows the cases")
    prepared = [prepare(case, cache_folder(), request.timeout) for case in chosen]
    return with_checks(prepared, request.checks) if request.checks else prepared


def _chosen(request: Request) -> list[Case]:
    """Cases named by name, pattern or group, case folders, and raw images, in the order in which they were asked
    for.
    """
    named, direct = [], []
    only_suites = False  # groups are then those of the suites' cases
    for argument in request.cases:
        path = Path(argument)
        if (path / MANIFEST).is_file():
            request.image.refuse(f"a case's folder ({argument})")
            direct.append(load(path))
        elif is_suite(path):
            request.image.refuse(f"a suite ({argument})")
            direct += select(bundled([path]), [], request.groups)
            only_suites = True
        elif path.is_file():
            direct.append(of_image(path, request.image))
        elif path.suffix or "/" in argument:
            raise CaseError(f"{argument}: no such image or case folder", hint="`difftest list` shows the cases by name")
        else:
            named.append(argument)
    if named or (request.groups and not only_suites) or not direct:
        request.image.refuse("cases by name")
    only_direct = direct and not named and (only_suites or not request.groups)
    chosen = [*([] if only_direct else find(request.folders, named, request.groups)), *direct]
    names = [case.name for case in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CaseError(f"two of the cases are called {twice.pop()}", hint="rename one of them")
    return chosen


def _idle(taking_part: Mapping[str, Target], every: Mapping[str, Target]) -> dict[str, list[str]]:
    """What the targets can do whose implementation the run does not look at."""
    busy = {target.implementation for target in taking_part.values()}
    return {name: sorted(target.capabilities) for name, target in every.items() if target.implementation not in busy}
