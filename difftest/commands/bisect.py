"""`difftest bisect`: the two neighbouring kernels between which a check's behaviour changed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from difftest.commands.options import Folders, Results, command_of, takes_versions
from difftest.commands.values import seconds
from difftest.verdict import ExitCode
from emulators.versions import Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from difftest.history.bisect import Search, State, Trial
    from difftest.run.request import Request
    from emulators.host.apt import Package

TARGET = "kvm-hosted"
EXIT_CODES = """Exit codes: 0 a pair is named; 2 wrong usage; 3 no pair can be named: an end does not show what was said
of it; 4 difftest itself failed; 5 this machine failed; 130 interrupted, and the next call goes on there."""


@takes_versions(repeatable=False, without=("kernel",))
def bisect(
    *,
    check: Annotated[str, typer.Argument(help="CASE/CHECK, or a case or image alone for the image as a whole.")],
    good: Annotated[
        str, typer.Option("--good", help="A kernel that does what the SDM requires: a version or its beginning.")
    ],
    bad: Annotated[str, typer.Option("--bad", help="A kernel that does not; it may be the newer or the older one.")],
    versions: list[Versions],
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=100, help="Boot each kernel this often.")] = 1,
    timeout: Annotated[
        float | None, typer.Option("--timeout", parser=seconds, metavar="SECONDS", help="A boot may take this long.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an earlier call tried.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only what was found.")] = False,
    results: Results = Path("results"),
    folders: Folders = None,
) -> None:
    """Find the two neighbouring kernels of the mirror between which a check's behaviour changed. Goes on where it
    stopped.
    """
    from difftest.case.manifest import IMAGE, OF_LOGS
    from difftest.errors import CaseError
    from difftest.history.bisect import State, load, state_file
    from difftest.run.request import Request, images
    from emulators.host.files import cache_folder
    from emulators.host.mirror import Mirror
    from emulators.hosted.appliance import kernel

    case, wanted = _split(check)
    (others,) = versions
    base = Request(
        cases=[case],
        groups=[],
        checks=[wanted] if wanted not in (IMAGE, *OF_LOGS) else [],
        targets=[TARGET],
        versions=others,
        cold=True,  # a snapshot is not worth making for one boot
        jobs=1,
        timeout=timeout,
        repeats=repeat,
        results=results,
        folders=folders or [],
        quiet=quiet,
        command=[],
    )
    prepared = images(base)
    if len(prepared) != 1:
        raise CaseError(f"{case} names {len(prepared)} cases, bisect takes one", hint="`difftest list` shows the cases")
    if prepared[0].abouts and wanted == IMAGE:
        checks = ", ".join(about.check for about in prepared[0].abouts)
        raise CaseError(f"which check of {case}?", hint=f"{case}/CHECK, of: {checks}")

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    mirror = Mirror(cache_folder(), say)
    ends = [kernel.named(mirror, version, kernel.cached(cache_folder())) for version in (good, bad)]
    kernels = kernel.in_order(kernel.available(mirror), ends)
    if ends[0].version == ends[1].version:
        raise CaseError(
            f"--good {good} and --bad {bad} are the same kernel, {ends[0].version}", hint="`difftest kernels`"
        )
    fresh = State(
        case=prepared[0].case.name,
        check=wanted,
        image_sha256=prepared[0].sha256,
        others=dict(others),
        repeat=repeat,
    )
    path = state_file(results, fresh.case, wanted)
    state = fresh if restart else load(path, fresh)
    if state.tried:
        say(f"going on where an earlier call stopped: {len(state.tried)} kernels are known ({path})")
    found, state = _walk(base, kernels, (ends[0].version, ends[1].version), state, path, say)
    _tell(found, state)
    if not found.trouble:
        _tell_who(found, state, results, case)
    raise typer.Exit(ExitCode.NO_VERDICT if found.trouble else ExitCode.EXPECTED)


def _walk(
    base: Request,
    kernels: Mapping[str, Package],
    ends: tuple[str, str],
    state: State,
    path: Path,
    say: Callable[[str], None],
) -> tuple[Search, State]:
    """Try kernels until the search is over; each answer is on disk before the next is looked for."""
    from difftest.history.bisect import save, search

    while True:
        found = search(list(kernels), *ends, {version: tried.shows for version, tried in state.tried.items()})
        if not found.next:
            return found, state
        say(f"trying Linux {found.next}: between {found.good} (good) and {found.bad} (bad), {found.left} kernels left")
        tried = _try(base, kernels[found.next], state.check)
        say(f"Linux {found.next}: {tried.shows}: {tried.said}")
        state = msgspec.structs.replace(state, tried={**state.tried, found.next: tried})
        save(path, state)


def _try(base: Request, package: Package, check: str) -> Trial:
    """Run the check on one kernel. What keeps the kernel from being had or from coming up is a reported lack of a
    verdict.
    """
    from difftest.history.bisect import CheckState, Trial, check_state
    from difftest.run.lifecycle import run_cases
    from emulators.host.errors import EmulatorError

    versions = {**base.versions, "kernel": package.version}
    names = [*base.cases, *(word for name in base.checks for word in ("-k", name)), "--target", TARGET]
    if base.repeats > 1:
        names += ["--repeat", str(base.repeats)]
    request = msgspec.structs.replace(base, versions=versions, command=command_of(["run", *names], versions))
    try:
        _, stored = run_cases(request)
    except EmulatorError as error:
        return Trial(shows=CheckState.NOTHING, said=f"{error}", run="")
    if stored is None:
        raise KeyboardInterrupt
    run = stored.meta.run
    if stored.meta.identities[TARGET].get("kernel package") != f"{package.name} {package.version}":
        return Trial(shows=CheckState.NOTHING, said="another kernel was booted than was asked for", run=run)
    state, said = check_state(stored.all_results(), check)
    return Trial(shows=state, said=said, run=run)


def _tell(found: Search, state: State) -> None:
    from difftest.history.bisect import CheckState
    from difftest.text import visible

    name = visible(f"{state.case} / {state.check}", 200)
    if found.trouble:
        typer.echo(f"{name}: {visible(found.trouble, 400)}")
    else:
        typer.echo(f"{name} changed between Linux {found.good} (good) and Linux {found.bad} (bad)")
        if found.between:
            typer.echo(f"between these two, and without a verdict: {', '.join(found.between)}")
    for version, tried in state.tried.items():
        typer.echo(visible(f"    {version:24} {tried.shows:12} {tried.said[:160]}  {tried.run}", 400).rstrip())
    runs = [state.tried[version].run for version in (found.good, found.bad) if version in state.tried]
    if not found.trouble and all(runs):
        typer.echo(f"see both: difftest compare {' '.join(runs)}")
    if any(tried.shows == CheckState.NOTHING for tried in state.tried.values()):
        typer.echo("kernels that were booted and gave no verdict are not booted again unless --restart is given")


def _tell_who(found: Search, state: State, results: Path, case: str) -> None:
    """Whether L0 carried out the check on one kernel and not on the other, or the command that shows it."""
    from difftest.errors import StoreError
    from difftest.history.carried_out import OPTION, by_l0, hint
    from difftest.run.store import StoredRun

    pair = (found.good, found.bad)
    try:
        runs = {version: StoredRun.find(results, state.tried[version].run) for version in pair}
        who = {f"Linux {version}": by_l0(run, state.case, state.check, TARGET) for version, run in runs.items()}
    except StoreError:  # a run that somebody has removed since takes nothing from what was found
        who = dict.fromkeys(pair)
    if None in who.values():
        kernels = [word for version in pair for word in ("--kernel", version)]
        line = ["difftest", "run", case, "-k", state.check, "--target", TARGET, OPTION, *kernels]
        typer.echo(f"whether L0 carries it out on both: {shlex.join(line)}")
    elif said := hint(who):
        typer.echo(said)


def _split(name: str) -> tuple[str, str]:
    """A case (by name, or by the path of its folder or image) and a check, which may have slashes of its own."""
    from difftest.case.manifest import IMAGE

    parts = name.split("/")
    for number in range(len(parts), 0, -1):
        path = Path("/".join(parts[:number]) or "/")
        if path.is_file() or (path / "case.toml").is_file():
            return str(path) if "/" in str(path) or path.suffix else f"./{path}", "/".join(parts[number:]) or IMAGE
    case, _, check = name.partition("/")
    return case, check or IMAGE
