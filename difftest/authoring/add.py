"""A case made of a file: looked at, unpacked, copied under its hash, booted once under the reference."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from difftest.authoring.propose import Proposal, propose
from difftest.authoring.scaffold import new_case_folder, rendered
from difftest.case.case import MANIFEST, load
from difftest.case.manifest import Manifest
from difftest.errors import CaseError
from difftest.image.kind import Kind
from difftest.image.prepare import prepare, unpacked
from difftest.reading.screen import read_screen
from difftest.text import visible
from emulators.host.files import private_copy, sha256
from emulators.observation import Boot, Ending, Observation
from emulators.target import Emulator

SUFFIXES = {Kind.DISK: ".img", Kind.CDROM: ".iso", Kind.KERNEL: ".elf", Kind.LINUX: ".bin"}
# Deadlines, in seconds. An image whose end the screen shows is waited for longer: that costs nothing unless it never
# gets there.
QUIET, TOTAL = 20.0, 120.0
PATIENT_QUIET, PATIENT_TOTAL = 60.0, 300.0
_UNPACKED = re.compile(r"\.(xz|gz|img|iso|elf|bin|raw|flat|vmdk|qcow2|lkrn)$", re.IGNORECASE)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants made a case."""

    file: Path
    folder: Path | None = None  # of the case; its last part is the case's name. None: named after the file, here
    command_line: str = ""
    modules: Sequence[str] = ()  # paths, each with the words behind the name
    second: Path | None = None
    memory_mib: int = 256
    cpus: int = 1
    quiet: float | None = None  # deadlines in seconds; None: as the image needs
    total: float | None = None


class Added(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    kind: Kind
    proposal: Proposal


def add(wish: Wish, reference: Emulator, cache: Path, say: Callable[[str], None]) -> Added:
    """Make the case. Raises CaseError and EmulatorError; nothing is left behind then."""
    folder = wish.folder or Path(case_name(wish.file))
    with new_case_folder(folder) as filled:
        say(f"looking at {wish.file}")
        image, kind = _copied(wish.file, filled)
        manifest = Manifest(
            name=folder.name,
            title=f"{kind} {visible(wish.file.name, 100)}",
            image=image,
            medium="cdrom" if kind == Kind.CDROM else "",
            command_line=wish.command_line,
            modules=[_module(one, filled) for one in wish.modules],
            second_image=_copied(wish.second, filled, "data")[0] if wish.second else "",
            memory_mib=wish.memory_mib,
            cpus=wish.cpus,
            quiet_seconds=wish.quiet or QUIET,
            total_seconds=wish.total or TOTAL,
        )
        (filled / MANIFEST).write_text(_text(manifest, folder, Proposal()))
        case = load(filled)  # so that the wish is judged by the same rules as any manifest
        say(f"booting it once on {reference.name}")
        observation = asyncio.run(_boot(reference, prepare(case, cache).boot(), say))
        if observation.ending == Ending.CRASH:
            raise CaseError(f"{wish.file}: does not start on {reference.name}: {observation.detail}")
        proposal = propose(observation, read_screen(observation))
        if proposal.end_screen:
            patience = {"quiet_seconds": wish.quiet or PATIENT_QUIET, "total_seconds": wish.total or PATIENT_TOTAL}
            manifest = msgspec.structs.replace(manifest, **patience)
        (filled / MANIFEST).write_text(_text(manifest, folder, proposal))
        load(filled)
    return Added(folder=folder, kind=kind, proposal=proposal)


def case_name(file: Path) -> str:
    """What a case of a file is called when nobody says: the file's name without what tells its kind."""
    name = file.name
    while (shorter := _UNPACKED.sub("", name)) != name and shorter:
        name = shorter
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "image"


def _copied(source: Path, folder: Path, medium: str = "") -> tuple[str, Kind]:
    """Copy or unpack an image into the case's folder, under a name that has its hash."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".copy-") as temporary:
        raw, kind = unpacked(source, Path(temporary) / "raw", medium)
        copy = Path(temporary) / "copy"
        private_copy(raw, copy)
        name = f"{case_name(source)[:40]}-{sha256(copy)[:16]}{SUFFIXES[kind]}"
        copy.replace(folder / name)
    return name, kind


def _module(wish: str, folder: Path) -> str:
    """Copy a kernel's module into the case's folder. It keeps its name, which the kernel is given."""
    path, _, words = wish.partition(" ")
    source = Path(path)
    if not source.is_file():
        raise CaseError(f"{source}: no such module")
    name = re.sub(r"[^\w.+-]", "_", source.name, flags=re.ASCII)
    if (folder / name).exists():
        raise CaseError(f"two of the files are called {name}", hint="rename one of them")
    private_copy(source, folder / name)
    return f"{name} {words}".strip()


async def _boot(reference: Emulator, boot: Boot, say: Callable[[str], None]) -> Observation:
    async with reference.session([boot], say) as session:
        return await session.boot(boot)


def _text(manifest: Manifest, folder: Path, proposal: Proposal) -> str:
    return rendered("image.toml.jinja", manifest=manifest, folder=visible(str(folder)), proposal=proposal, toml=_toml)


def _toml(value: object) -> str:
    """A string or a list of strings as TOML has it; other values look alike in both."""
    return json.dumps(value, ensure_ascii=False)
