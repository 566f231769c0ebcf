"""`difftest export`: a case, a check or a divergence for somebody who has no difftest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftest.commands.options import Folders, Results, default_results

IMAGE, KVM_UNIT_TEST, BUNDLE = FORMS = ("image", "kvm-unit-test", "bundle")

Carry = Annotated[
    bool, typer.Option("--carry", help="Take hosted KVM along (30 MB): the script then needs no VMX, only Bochs.")
]
CarryKernel = Annotated[
    str | None, typer.Option("--kernel", help="With --carry: the kernel to take along. Default: as in the run.")
]


def export(
    subject: Annotated[
        str,
        typer.Argument(
            help="A case, or a check as ID or CASE/ID; also the beginning of ids, up to a slash. For a bundle a check "
            "of the run.",
            metavar="CASE|CHECK",
        ),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            help="image: the bootable image with command lines of QEMU and Bochs. kvm-unit-test: a C source for x86/ "
            "of that suite. bundle: a divergence of a run with its evidence and a script.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is written.")] = Path(),
    run: Annotated[str, typer.Option("--run", help="Of a bundle: the run's name or folder.")] = "latest",
    carry: Carry = False,
    kernel: CarryKernel = None,
    results: Results = default_results,
    folders: Folders = None,
) -> None:
    """Write a case or a check in a form that needs no difftest to be run."""
    from difftest.errors import CaseError

    if form == BUNDLE:
        save_bundle(subject, run, output, results, carry=carry, kernel=kernel)
        return
    if form not in FORMS:
        raise CaseError(f"--as takes no {form}", hint=", ".join(FORMS))
    if carry or kernel:
        raise CaseError("--carry and --kernel go with --as bundle", hint="leave them out")
    from difftest.export.image import image_archive
    from difftest.export.kvm_unit_test import kvm_unit_test
    from difftest.export.subject import subject as named
    from emulators.host.files import cache_folder
    from emulators.registry import targets

    prepared = named(subject, folders or [], cache_folder())
    if form == KVM_UNIT_TEST:
        name, data = kvm_unit_test(prepared)
        _save(output / name, data, "copy it to x86/ of kvm-unit-tests; its first comment says how it is built")
        return
    folder, data = image_archive(prepared, targets())
    _save(output / f"{folder}.tar.gz", data, "unpack it; README has the command lines")


def save_bundle(check: str, name: str, output: Path, results: Path, *, carry: bool, kernel: str | None) -> None:
    """Write the bundle of a check of a run."""
    from difftest.report.bundle import bundle as packed
    from difftest.report.digest import digest
    from difftest.report.lookup import found
    from difftest.run.store import StoredRun
    from emulators.registry import targets

    run = StoredRun.find(results, name)
    chosen = found(digest(run), check)[0].choices
    as_in_run = dict(zip(chosen[::2], chosen[1::2], strict=True))
    models = {name: as_in_run.get(f"--{name.replace('_', '-')}") for name in ("cpu_model", "host_cpu_model")}
    every = targets({**models, "kernel": kernel or as_in_run.get("--kernel")})
    hosts = [host for target in every.values() if (host := target.host_cpu())]
    folder, data = packed(run, check, {**every, **{host.name: host for host in hosts}}, carry=carry)
    _save(output / f"{folder}.tar.gz", data, "unpack it and run rerun.sh")


def _save(path: Path, data: bytes, then: str) -> None:
    from difftest.atomic import write, writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
    typer.echo(f"{path}: {len(data)} bytes; {then}")
