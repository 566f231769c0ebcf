"""`difftest judge`: the verdicts of a stored run, worked out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import AllowSkips, Results, RunName, default_results

if TYPE_CHECKING:
    from difftest.case.manifest import Manifest
    from difftest.judging.result import Result
    from difftest.run.metadata import CaseSnapshot


def judge(
    name: RunName = "latest",
    stored: Annotated[
        bool, typer.Option("--stored", help="By the manifests as they were, and not by those that the cases have now.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would change, and keep the verdicts as they are.")
    ] = False,
    allow_skips: AllowSkips = False,
    folder: Results = default_results,
) -> None:
    """Compare and judge a stored run's observations again and say what changed. No emulator is started."""
    from difftest.history.rejudge import changes, rejudge
    from difftest.run.store import StoredRun
    from difftest.run.writer import RunWriter
    from difftest.text import visible
    from difftest.verdict import exit_code

    run = StoredRun.find(folder, name)
    results: list[Result] = []
    changed = 0
    for case in run.cases():
        before = run.results(case.name)
        after = rejudge(run, case, _stored(case) if stored else _current(case))
        for change in changes(before, after):
            typer.echo(visible(change.words, 2000))
            changed += 1
        if after != before and not dry:
            RunWriter(run.folder, run.meta).add_results(case.name, after)
        results += after
    typer.echo(f"{len(results)} results, {changed} of them {'would be' if dry else 'are'} others than before")
    raise typer.Exit(exit_code(results, allow_skips=allow_skips))


def _stored(case: CaseSnapshot) -> Manifest:
    import msgspec

    from difftest.case.manifest import Manifest

    return (
        msgspec.toml.decode(case.manifest, type=Manifest)
        if case.manifest
        else Manifest(name=case.name, title=case.title)
    )


def _current(case: CaseSnapshot) -> Manifest:
    """The manifest that the case has now; the stored one of a case that is not there any more."""
    from difftest.authoring.accept import manifest_path
    from difftest.case.case import load
    from difftest.errors import CaseError

    try:
        return load(manifest_path(case).parent).manifest
    except CaseError:
        return _stored(case)
