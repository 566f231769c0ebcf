"""`difftest trace`: why the two sides of a check part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Folders, takes_versions
from emulators.versions import Versions

if TYPE_CHECKING:
    from difftest.image.prepare import PreparedCase
    from difftest.tracing.boots import Traced
    from emulators.host.errors import Progress


@takes_versions(repeatable=False)
def trace(
    *,
    check: Annotated[str, typer.Argument(help="A check of a case that is built with the kit, as ID or CASE/ID.")],
    versions: list[Versions],
    whole: Annotated[bool, typer.Option("--all", help="Show both stories from the check's beginning.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the stories.")] = False,
    folders: Folders = None,
) -> None:
    """Run a check on Bochs and on hosted KVM with tracing, and show both stories up to where they part: the
    instructions and VM exits of Bochs, and what L0 handled, with KVM's tracepoints. It also answers whether L0 saw it
    at all.
    """
    from difftest.export.subject import subject
    from difftest.tracing.boots import one_check
    from emulators.host.files import cache_folder

    prepared = one_check(subject(check, folders or [], cache_folder()))
    show = (lambda line: None) if quiet else (lambda line: typer.echo(line, err=True))
    _show(prepared, *_traced(prepared, versions[0], show), whole=whole)


def _traced(prepared: PreparedCase, versions: Versions, show: Progress) -> tuple[Traced, Traced, str, str]:
    """Both sides, and their names."""
    import asyncio
    from typing import cast

    from difftest.tracing.boots import traced_on_bochs, traced_on_kvm
    from emulators.bochs.target import Bochs
    from emulators.hosted.target import KvmHosted
    from emulators.registry import REFERENCE, targets

    every = targets(versions, exits=True)
    wanted = [every[name].on_cpu(prepared.emulated_cpu) if prepared.emulated_cpu else every[name] for name in every]
    chosen = {target.name: target for target in wanted}
    bochs, hosted = cast(Bochs, chosen[REFERENCE]), cast(KvmHosted, chosen[KvmHosted.name])
    for target in (bochs, hosted):
        target.prepare(show)

    async def both() -> tuple[Traced, Traced]:
        left, (right, _) = await asyncio.gather(
            traced_on_bochs(bochs, prepared, show), traced_on_kvm(hosted, prepared, show)
        )
        return left, right

    left, right = asyncio.run(both())
    names = f"Bochs {bochs.identity()['bochs']}", f"KVM of Linux {hosted.identity()['kernel']}, as L0 saw it"
    return left, right, *names


def _show(prepared: PreparedCase, left: Traced, right: Traced, bochs: str, kvm: str, *, whole: bool) -> None:
    from rich.console import Console

    from difftest.image.symbols import ELF, places
    from difftest.text import visible
    from difftest.tracing.code import code_around
    from difftest.tracing.parting import parting
    from difftest.tracing.view import fields_apart, table

    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    (about,) = prepared.abouts
    place = places(prepared.image.with_name(ELF))
    statuses = [traced.record.status.value if traced.record else "no record" for traced in (left, right)]
    console.print(visible(f"{prepared.case.name}/{about.check}: {about.summary}", 500), markup=False)
    console.print(f"Bochs: {statuses[0]}; KVM: {statuses[1]}\n", markup=False)
    for name, traced in ((bochs, left), (kvm, right)):
        if traced.story.problem:
            console.print(f"{name}: {traced.story.problem}", markup=False)
    found = parting(left.story, right.story)
    console.print(table(left.story, right.story, found, (bochs, kvm), place, whole=whole))
    where = f"{found.rip:#x} {place(found.rip)}".strip() if found.rip is not None else "nowhere"
    console.print(f"\n{_answer(found.differs)} {found.level} at {where}. {found.seen}.", markup=False)
    if found.rip is not None:
        for line in code_around(prepared.image.read_bytes(), found.rip, left.story.steps):
            console.print(f"  {line}", markup=False)
    for line in fields_apart(left.record, right.record):
        console.print(f"  {line}", markup=False)


def _answer(differs: bool) -> str:
    return (
        "They part in"
        if differs
        else "No event differs: what differs is in the state that the check reads afterwards. Last in question:"
    )
