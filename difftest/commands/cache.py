"""`difftest cache`."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Clear what was read and asked, and snapshots that no run is using.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="With --clear: also kernels, appliances, other Bochs and built images.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every file with its hash, and clear what is damaged.")
    ] = False,
) -> None:
    """Show, check and clear what is kept between runs. All of it is made or fetched again when a run needs it."""
    from difftest.errors import CaseError
    from difftest.image.build import built_cases
    from difftest.image.prepare import images
    from difftest.reading import ocr
    from emulators.bochs.program import fetched
    from emulators.host import answers as answers
    from emulators.host.cache import disk_bytes
    from emulators.host.files import cache_folder
    from emulators.hosted.appliance.build import appliances
    from emulators.hosted.appliance.kernel import kernels
    from emulators.hosted.appliance.snapshot import snapshots

    if everything and not clear:
        raise CaseError("--everything says what --clear is to clear", hint="difftest cache --clear --everything")
    folder = cache_folder()
    caches = (
        snapshots(folder),
        appliances(folder),
        kernels(folder),
        fetched(folder),
        built_cases(folder / "built"),
        images(folder / "images"),
    )
    entries = {one.folder: one for one in caches}
    if clear:
        for one in caches if everything else caches[:1]:
            one.clear()
        small = (folder / ocr.FOLDER, folder / answers.FOLDER)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path in small or (everything and path not in entries):
                shutil.rmtree(path, ignore_errors=True)
    if check:
        for one in caches:
            for key in one.check():
                typer.echo(f"damaged, and cleared: {one.folder / key}")
    typer.echo(f"{folder}:")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path in entries:
            note = f"  of at most {_megabytes(entries[path].most_bytes)}, {len(entries[path].keys())} kept"
        elif path.name == ocr.FOLDER:
            note = f"  {len(list(path.iterdir()))} of at most {ocr.MOST_READINGS} readings of screens"
        else:
            note = ""
        typer.echo(f"    {path.name:12} {_megabytes(disk_bytes(path)):>9}{note}")


def _megabytes(count: int) -> str:
    return f"{count >> 20} MiB"
