"""`difftest run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.options import Folders, Results
from difftest.commands.report import show_report, write_html


def run(
    cases: Annotated[list[str] | None, typer.Argument(help="Cases by name or pattern, case folders, or raw disk images.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All cases, which is also what no argument means.")] = False,
    group: Annotated[list[str] | None, typer.Option("--group", "-g", help="All cases of a group; repeatable.")] = None,
    check: Annotated[
        list[str] | None, typer.Option("--check", "-k", help="Only checks of this name or pattern; repeatable.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Target to hold against Bochs: kvm, kvm-hosted or tcg. Default: the best KVM here."),
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="Kernel of kvm-hosted: a version or its beginning, or a .deb's path.")
    ] = None,
    cpu_model: Annotated[
        str | None,
        typer.Option("--cpu-model", help="CPU model of both Bochs: the reference, and the one that hosts KVM for kvm-hosted."),
    ] = None,
    bochs: Annotated[
        str | None, typer.Option("--bochs", help="The reference: a version of Bochs or its beginning, or a program's path.")
    ] = None,
    host_bochs: Annotated[
        str | None, typer.Option("--host-bochs", help="The Bochs that hosts KVM for kvm-hosted, chosen in the same ways.")
    ] = None,
    qemu: Annotated[str | None, typer.Option("--qemu", help="The QEMU of kvm, kvm-hosted and tcg: a program's path.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Boots side by side.")] = 2,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Seconds a boot may take; kvm-hosted gets four times that.")
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1000, help="Boot everything this often.")] = 1,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the HTML report to this file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the report.")] = False,
    results: Results = Path("results"),
    folders: Folders = None,
) -> None:
    """Boot cases under Bochs and under KVM, compare them, report. All cases when none is named."""
    from difftest.case import CaseError
    from difftest.main import Request, run_cases
    from emulators.registry import Versions

    if every and (cases or group):
        raise CaseError("--all goes with no case and no group", hint="leave out one of them")
    asked = [name for part in target or [] for name in part.split(",") if name]
    request = Request(
        cases=cases or [],
        groups=group or [],
        checks=check or [],
        targets=asked,
        versions=Versions(kernel=kernel, bochs=bochs, host_bochs=host_bochs, qemu=qemu, cpu_model=cpu_model),
        jobs=jobs,
        timeout=timeout,
        repeats=repeat,
        results=results,
        folders=folders or [],
        quiet=quiet,
        command=["difftest", *sys.argv[1:]],
    )
    code, stored = run_cases(request)
    if stored is not None:
        show_report(stored)
        if html is not None:
            write_html(stored, html)
    raise typer.Exit(code)
