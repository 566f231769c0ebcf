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
) -> None:
    """Show what is kept between runs, and clear it. All of it is made or fetched again when a run needs it."""
    from difftest.errors import CaseError
    from difftest.reading import ocr
    from emulators.host import answers as answers
    from emulators.host.cache import disk_bytes
    from emulators.host.files import cache_folder
    from emulators.hosted.appliance.snapshot import snapshots

    if everything and not clear:
        raise CaseError("--everything says what --clear is to clear", hint="difftest cache --clear --everything")
    folder = cache_folder()
    kept = snapshots(folder)
    if clear:
        kept.trim(0)
        small = (folder / ocr.FOLDER, folder / answers.FOLDER)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path in small or (everything and path != kept.folder):
                shutil.rmtree(path, ignore_errors=True)
    typer.echo(f"{folder}:")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path == kept.folder:
            note = f"  of at most {_megabytes(kept.most_bytes)}, {len(kept.keys())} kept"
        elif path.name == ocr.FOLDER:
            note = f"  {len(list(path.iterdir()))} of at most {ocr.MOST_KEPT} readings of screens"
        else:
            note = ""
        typer.echo(f"    {path.name:12} {_megabytes(disk_bytes(path)):>9}{note}")


def _megabytes(count: int) -> str:
    return f"{count >> 20} MiB"
