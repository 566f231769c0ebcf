"""`difftest list` and `difftest show`: what cases there are, and what is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Folders

LONGEST = 20_000  # characters of a case's description

if TYPE_CHECKING:
    from difftest.case.case import Case
    from difftest.case.manifest import About


def list_cases(
    folders: Folders = None,
    checks: Annotated[bool, typer.Option("--checks", help="Also each case's checks (builds the cases).")] = False,
) -> None:
    """List the cases, their groups and what they need."""
    from difftest.case.case import BUNDLED
    from difftest.case.selection import bundled

    for case in bundled([BUNDLED, *(folders or [])]):
        needs = f"  needs {', '.join(case.manifest.needs)}" if case.manifest.needs else ""
        _say(f"{case.name:24} [{' '.join(case.manifest.groups)}]{needs}\n    {case.manifest.title}")
        for about in _abouts(case) if checks else []:
            _say(f"    {about.check:24} {about.summary}  ({about.sdm})")


def show(
    name: Annotated[str, typer.Argument(help="A case's name.")],
    folders: Folders = None,
) -> None:
    """Show one case: what it does, its checks with their SDM sections, and its known divergences."""
    from difftest.case.case import BUNDLED
    from difftest.case.selection import bundled, select

    for case in select(bundled([BUNDLED, *(folders or [])]), [name], []):
        manifest = case.manifest
        _say(f"{case.name}: {manifest.title}\n\n{manifest.description.strip()}\n")
        _say(f"groups: {', '.join(manifest.groups)}\nneeds: {', '.join(manifest.needs) or 'nothing'}")
        _say(f"machine: {manifest.memory_mib} MiB, {manifest.cpus} CPU\nfolder: {case.folder}\n")
        for about in _abouts(case):
            _say(f"{about.check}\n    {about.summary}\n    SDM: {about.sdm}")
        for known in manifest.known:
            subjects = ", ".join(known.targets) or "all targets"
            _say(f"known: {', '.join(known.checks)}: {known.verdict} on {subjects}: {known.reason}")


def _say(text: str) -> None:
    """Print what a manifest says, which somebody else may have written."""
    from difftest.text import visible

    typer.echo(visible(text, LONGEST, lines=True))


def _abouts(case: Case) -> list[About]:
    from difftest.image.prepare import prepare
    from emulators.host.files import cache_folder

    return list(prepare(case, cache_folder()).abouts)
