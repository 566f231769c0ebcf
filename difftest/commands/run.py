"""`difftest run`."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from difftest.case.image_options import ImageOptions
from difftest.commands.compare import show_matrix
from difftest.commands.options import (
    AllowSkips,
    Folders,
    Results,
    command_of,
    default_results,
    takes_image_options,
    takes_versions,
)
from difftest.commands.report import show_report, write_form
from difftest.commands.values import names, seconds
from difftest.verdict import ExitCode
from emulators.versions import Versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from difftest.judging.confirmation import ConfirmScope
    from difftest.run.request import Request

GIT_BISECT = "git-bisect"
EXIT_CODES_FOR = ("difftest", GIT_BISECT)
# The exit code of several runs is the gravest of theirs.
SEVERITY = [ExitCode.EXPECTED, ExitCode.NO_VERDICT, ExitCode.DIVERGED, ExitCode.INTERRUPTED]


@takes_image_options
@takes_versions(repeatable=True)
def run(
    *,
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases by name or pattern, case folders, or images of any kind.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All cases, which is also what no argument means.")] = False,
    group: Annotated[list[str] | None, typer.Option("--group", "-g", help="All cases of a group; repeatable.")] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--check", "-k", help="Only this check: an id, its beginning up to a slash, or a pattern; repeatable."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="Target to compare with Bochs: kvm, kvm-hosted or tcg. Default: the best KVM here, and tcg for cases "
            "in C that need no VMX.",
        ),
    ] = None,
    image: ImageOptions,
    versions: list[Versions],
    cold: Annotated[
        bool, typer.Option("--cold", help="Boot kvm-hosted's Linux instead of restoring it from a snapshot.")
    ] = False,
    exits: Annotated[
        bool,
        typer.Option("--exits", help="Record which VM exits L0 handles on kvm-hosted, for `difftest report --exits`."),
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Boots side by side.")] = 2,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            parser=seconds,
            metavar="SECONDS",
            help="A boot may take this long; kvm-hosted four times that.",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1000, help="Boot everything this often.")] = 1,
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm", help="Confirm divergences by further boots, also on other machines: new, all or none."
        ),
    ] = "new",
    exit_code: Annotated[
        str,
        typer.Option(
            "--exit-code",
            help="What the exit code is for: difftest (see below), or git-bisect, by KVM's side of the checks alone: "
            "0 good, 1 bad, 125 no verdict, 128 an error.",
        ),
    ] = "difftest",
    html: Annotated[Path | None, typer.Option("--html", help="Also write the HTML report to this file.")] = None,
    allow_skips: AllowSkips = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the report.")] = False,
    results: Results = default_results,
    folders: Folders = None,
) -> None:
    """Boot cases under Bochs and under KVM, compare them, report. All cases when none is named.

    With several kernels or several programs of a kind there is one run for each, and one table of them all.
    """
    from difftest.errors import CaseError
    from difftest.run.lifecycle import run_cases
    from difftest.run.request import Request

    if every and (cases or group):
        raise CaseError("--all goes with no case and no group", hint="leave out one of them")
    if exit_code not in EXIT_CODES_FOR:
        raise CaseError(f"--exit-code takes no {exit_code}", hint=" or ".join(EXIT_CODES_FOR))
    if exit_code == GIT_BISECT and not check:
        raise CaseError("--exit-code git-bisect goes with --check", hint="-k names the check that is good or bad")
    if exit_code == GIT_BISECT and len(versions) > 1:
        raise CaseError("--exit-code git-bisect goes with one version of each kind")
    asked = names("--target", target)
    if html is not None and len(versions) > 1:
        raise CaseError("--html goes with one version of each kind", hint="then: difftest report RUN --html FILE")
    series = secrets.token_hex(8) if len(versions) > 1 else ""
    requests = [
        Request(
            cases=cases or [],
            image=image,
            groups=group or [],
            checks=check or [],
            targets=asked,
            versions=chosen,
            cold=cold,
            exits=exits,
            jobs=jobs,
            timeout=timeout,
            repeats=repeat,
            results=results,
            folders=folders or [],
            quiet=quiet,
            confirm=_confirm(confirm),
            allow_skips=allow_skips,
            command=command_of(sys.argv[1:], chosen),
            series=series,
        )
        for chosen in versions
    ]
    if len(requests) > 1:
        raise typer.Exit(_run_all(requests))
    code, stored = run_cases(requests[0])
    if stored is not None:
        show_report(stored, full=False)
        if html is not None:
            write_form(stored, "html", html)
    if exit_code == GIT_BISECT and stored is not None and code != ExitCode.INTERRUPTED:
        from difftest.history.bisect import git_exit_code

        raise typer.Exit(git_exit_code(stored.all_results()))
    raise typer.Exit(code)


def _run_all(requests: Sequence[Request]) -> ExitCode:
    """One run after the other, then the table. Of an interrupted series what was finished is shown."""
    from difftest.run.lifecycle import carry_out
    from difftest.run.request import made_ready

    codes, done = [], []
    for ready in [made_ready(request) for request in requests]:  # what cannot be had is reported before anything boots
        code, stored = carry_out(ready)
        codes.append(code)
        if stored is None:
            break
        done.append(stored)
    if done:
        show_matrix(done)
        typer.echo("each in full: difftest report RUN; the table again: difftest compare RUN RUN...")
    return max(codes, key=SEVERITY.index)


def _confirm(word: str) -> ConfirmScope:
    from difftest.errors import CaseError
    from difftest.judging.confirmation import ConfirmScope

    try:
        return ConfirmScope(word)
    except ValueError as error:
        raise CaseError(f"--confirm takes no {word}", hint="new, all or none") from error
