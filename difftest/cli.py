"""The command line. Commands import what they use when they run, so that `--help` is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from difftest import __version__
from difftest.verdict import ExitCode

if TYPE_CHECKING:
    from difftest.case import Case
    from difftest.judge import About
    from difftest.store import StoredRun

EXIT_CODES = """Exit codes: 0 all as expected; 1 an unexpected divergence, or a known one that vanished; 2 wrong usage, or nothing
selected; 3 some case got no verdict; 4 difftest itself failed; 130 interrupted."""

app = typer.Typer(
    name="difftest",
    help="Boots the same x86 disk image under Bochs and under KVM, and says where the two differ and who breaks the SDM.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Results = Annotated[Path, typer.Option("--results", help="Folder that runs are kept in.")]
Folders = Annotated[list[Path] | None, typer.Option("--cases", help="More folders with cases; repeatable.")]
RunName = Annotated[str, typer.Argument(help="A run's name or folder.", metavar="[RUN]")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"difftest {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    del version


@app.command(epilog=EXIT_CODES)
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
    from difftest.main import Request, run_cases

    if every and (cases or group):
        _fail("--all goes with no case and no group", "leave out one of them", ExitCode.USAGE)
    asked = [name for part in target or [] for name in part.split(",") if name]
    request = Request(
        cases=cases or [],
        groups=group or [],
        checks=check or [],
        targets=asked,
        kernel=kernel,
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
        _show(stored)
        if html is not None:
            _write_html(stored, html)
    raise typer.Exit(code)


@app.command("list")
def list_cases(
    folders: Folders = None,
    checks: Annotated[bool, typer.Option("--checks", help="Also each case's checks (builds the cases).")] = False,
) -> None:
    """List the cases, their groups and what they need."""
    from difftest.case import BUNDLED, bundled

    for case in bundled([BUNDLED, *(folders or [])]):
        needs = f"  needs {', '.join(case.manifest.needs)}" if case.manifest.needs else ""
        typer.echo(f"{case.name:24} [{' '.join(case.manifest.groups)}]{needs}\n    {case.manifest.title}")
        for about in _abouts(case) if checks else []:
            typer.echo(f"    {about.check:24} {about.summary}  ({about.sdm})")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A case's name.")],
    folders: Folders = None,
) -> None:
    """Show one case: what it does, its checks with their SDM sections, and its known divergences."""
    from difftest.case import BUNDLED, bundled, select

    for case in select(bundled([BUNDLED, *(folders or [])]), [name], []):
        manifest = case.manifest
        typer.echo(f"{case.name}: {manifest.title}\n\n{manifest.description.strip()}\n")
        typer.echo(f"groups: {', '.join(manifest.groups)}\nneeds: {', '.join(manifest.needs) or 'nothing'}")
        typer.echo(f"machine: {manifest.memory_mib} MiB, {manifest.cpus} CPU\nfolder: {case.folder}\n")
        for about in _abouts(case):
            typer.echo(f"{about.check}\n    {about.summary}\n    SDM: {about.sdm}")
        for known in manifest.known:
            typer.echo(f"known: {known.check}: {known.verdict} on {', '.join(known.targets) or 'all targets'}: {known.reason}")


@app.command()
def report(
    name: RunName = "latest",
    html: Annotated[Path | None, typer.Option("--html", help="Write the self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the JSON report.")] = False,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="Write what each check showed to this Markdown file.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Report a stored run again; no emulator is started."""
    from difftest.store import StoredRun

    stored = StoredRun.find(results, name)
    if json:
        from difftest.report.json import json_report

        sys.stdout.buffer.write(json_report(stored) + b"\n")
    elif catalogue is not None:
        from difftest.report.catalogue import catalogue as written

        catalogue.write_text(written(stored), encoding="utf-8")
    elif html is not None:
        _write_html(stored, html)
    else:
        _show(stored)


@app.command()
def doctor(
    kernel: Annotated[str | None, typer.Option("--kernel", help="Also look whether this kernel can be had.")] = None,
) -> None:
    """Tell what this host can do, what is missing, and the command that gets it. Exit code 1: no run is possible."""
    from difftest.doctor import can_compare, examine, packages
    from emulators.registry import targets

    every = targets(kernel)
    findings = examine(every)
    for finding in findings:
        typer.echo(f"{finding.name}: {'ready' if finding.usable else 'not usable'}")
        for need in finding.needs:
            mark = "ok     " if need.met else "MISSING"
            hint = f"  ->  {need.hint}" if not need.met else ""
            typer.echo(f"    {mark} {need.what}{': ' + need.found if need.found else ''}{hint}")
    if kernel is not None:
        from emulators.hosted import KvmHosted

        found = KvmHosted(kernel).appliance(typer.echo)
        typer.echo(f"kernel {kernel}: {found.kernel.package}, release {found.kernel.release}")
    wanted = packages(findings)
    if wanted:
        typer.echo(f"\nTo install what is missing:\n    apt-get install {' '.join(wanted)}")
    if not can_compare(findings):
        typer.echo("\nNo comparison is possible here yet: it takes difftest's own needs, bochs, and kvm or kvm-hosted.")
        raise typer.Exit(1)


def _abouts(case: Case) -> list[About]:
    from difftest.image import prepare
    from difftest.main import cache_folder

    return list(prepare(case, cache_folder()).abouts)


def _show(stored: StoredRun) -> None:
    from difftest.report.terminal import show as show_report

    show_report(stored, sys.stdout)


def _write_html(stored: StoredRun, path: Path) -> None:
    from difftest.report.html import html_report

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html_report(stored), encoding="utf-8")
    typer.echo(f"HTML report: {path}")


def _fail(message: str, hint: str, code: ExitCode) -> NoReturn:
    from difftest.text import visible

    typer.echo(f"error: {visible(message, 6000, lines=True)}", err=True)
    if hint:
        typer.echo(f"hint: {visible(hint, 2000, lines=True)}", err=True)
    sys.exit(code)


def main() -> None:
    """Entry point: turns every error into one clear message and its exit code."""
    from difftest.errors import explained

    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail("interrupted", "", ExitCode.INTERRUPTED)
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        _fail(told.message, told.hint, told.code)


if __name__ == "__main__":
    main()
