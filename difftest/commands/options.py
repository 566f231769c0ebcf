"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emulators.registry import Versions

EXIT_CODES = """Exit codes: 0 all as expected; 1 an unexpected divergence, or a known one that vanished; 2 wrong usage,
or nothing selected; 3 some case got no verdict; 4 difftest itself failed; 5 this machine failed: its disk, an emulator
that does not start, a mirror that does not answer; 130 interrupted."""

Results = Annotated[Path, typer.Option("--results", help="Folder that runs are kept in.")]
Folders = Annotated[list[Path] | None, typer.Option("--cases", help="More folders with cases; repeatable.")]
OfRun = Annotated[str, typer.Option("--run", help="The run's name or folder.")]
CheckName = Annotated[str, typer.Argument(help="A check of the run, as ID or CASE/ID.", metavar="CHECK")]
default_results = Path("results")
RunName = Annotated[str, typer.Argument(help="A run's name or folder.", metavar="[RUN]")]

Kernels = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel",
        help="Kernel of kvm-hosted: a version or its beginning (`difftest kernels` lists them), a .deb, a build "
        "tree, or a folder"
        " with a bzImage and its modules. Repeatable.",
    ),
]
BochsPrograms = Annotated[
    list[str] | None,
    typer.Option(
        "--bochs", help="The reference: a version of Bochs or its beginning, or a program's path. Repeatable."
    ),
]
HostBochsPrograms = Annotated[
    list[str] | None,
    typer.Option("--host-bochs", help="The Bochs that hosts KVM for kvm-hosted, chosen in the same ways. Repeatable."),
]
QemuPrograms = Annotated[
    list[str] | None, typer.Option("--qemu", help="The QEMU of kvm, kvm-hosted and tcg: a program's path. Repeatable.")
]

CpuModels = Annotated[
    list[str] | None,
    typer.Option(
        "--cpu-model",
        help="CPU model of both Bochs: the reference, and the one that hosts KVM for kvm-hosted. Repeatable.",
    ),
]


def command_of(arguments: Sequence[str], versions: Versions) -> list[str]:
    """The command line that makes the run of these versions alone, out of one that may ask for several."""
    options = {
        "--kernel": versions.kernel,
        "--bochs": versions.bochs,
        "--host-bochs": versions.host_bochs,
        "--qemu": versions.qemu,
        "--cpu-model": versions.cpu_model,
    }
    kept, words = ["difftest"], iter(arguments)
    for word in words:
        if word in options:
            next(words, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept + [part for option, value in options.items() if value is not None for part in (option, value)]
