"""A case made of a file: looked at, unpacked, copied under its hash, booted once under the reference."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from difftest.atomic import file_name
from difftest.authoring.propose import Proposal, propose
from difftest.authoring.scaffold import new_case_folder, rendered
from difftest.case.case import MANIFEST, load
from difftest.case.image_options import PATIENT_QUIET, PATIENT_TOTAL, ImageOptions
from difftest.case.manifest import Manifest
from difftest.errors import CaseError
from difftest.image.kind import Kind, Look
from difftest.image.prepare import MEDIA, prepare, unpacked
from difftest.reading.screen import read_screen
from difftest.reading.screen_reading import ScreenReading
from difftest.text import visible
from emulators.host.files import private_copy, sha256
from emulators.observation import Boot, Ending, Observation
from emulators.registry import REFERENCE
from emulators.target import Emulator

SUFFIXES = {Kind.DISK: ".img", Kind.FLOPPY: ".img", Kind.CDROM: ".iso", Kind.KERNEL: ".elf", Kind.LINUX: ".bin"}
FIRST_BOOT = "first-boot"  # the folder in a case of what the boot of `add` gave
QUIET, TOTAL = 20.0, 120.0  # deadlines, in seconds
_UNPACKED = re.compile(r"\.(xz|gz|bz2|zst|img|iso|flp|elf|bin|raw|flat|vmdk|vdi|vhdx|qcow2|lkrn)$", re.IGNORECASE)


class AddRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants made a case."""

    file: Path
    folder: Path | None = None  # of the case; its last part is the case's name. None: named after the file, here
    image: ImageOptions = ImageOptions()
    cpu_model: str = ""  # of the reference; "" is its default
    quiet: float | None = None  # deadlines in seconds; None: as the image needs
    total: float | None = None


class AddedCase(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    look: Look
    proposal: Proposal


def add(request: AddRequest, reference: Emulator, cache: Path, say: Callable[[str], None]) -> AddedCase:
    """Make the case. Raises CaseError and EmulatorError; no case is left then, only what a boot gave."""
    folder = request.folder or Path(case_name(request.file))
    with new_case_folder(folder) as filled:
        say(f"looking at {request.file}")
        manifest, look = _manifest(request, folder, filled)
        (filled / MANIFEST).write_text(_text(manifest, folder, _with_end(Proposal(), request.image)))
        case = load(filled)  # so that the wish is judged by the same rules as any manifest
        say(f"booting it once on {reference.name}")
        boot = msgspec.structs.replace(prepare(case, cache).boot(), watches_vmx=True)
        observation = asyncio.run(_boot(reference, boot, say))
        screen = read_screen(observation)
        kept = kept_boot(observation, screen)
        try:
            if observation.ending == Ending.CRASH:
                raise CaseError(f"{request.file}: does not start on {reference.name}: {observation.detail}")
            proposal = _with_end(propose(observation, screen), request.image)
            if proposal.end_screen:
                patience = {
                    "quiet_seconds": request.quiet or PATIENT_QUIET,
                    "total_seconds": request.total or PATIENT_TOTAL,
                }
                manifest = msgspec.structs.replace(manifest, **patience)
            (filled / MANIFEST).write_text(_text(manifest, folder, proposal))
            load(filled)
        except CaseError as error:
            if kept:
                beside = folder.with_name(f"{folder.name}.{FIRST_BOOT}")
                _write(beside, kept)
                error.hint = f"what that boot gave is in {beside}" + (f"; {error.hint}" if error.hint else "")
            raise
        _write(filled / FIRST_BOOT, kept)
    return AddedCase(folder=folder, look=look, proposal=proposal)


def _manifest(request: AddRequest, folder: Path, filled: Path) -> tuple[Manifest, Look]:
    """What is known before the first boot; the image and its modules are copied into `filled`."""
    options = request.image
    image, look = _copied(request.file, filled, options.medium or "")
    plain = Manifest(name=folder.name)
    manifest = Manifest(
        name=folder.name,
        title=f"{look.kind} {visible(request.file.name, 100)}",
        image=image,
        medium=MEDIA[look.kind].value if look.kind in MEDIA else "disk" if options.medium else "",
        command_line=options.command_line,
        modules=[_module(one, filled) for one in options.modules],
        second_image=_copied(options.second, filled, "data")[0] if options.second else "",
        memory_mib=plain.memory_mib if options.memory_mib is None else options.memory_mib,
        cpus=plain.cpus if options.cpus is None else options.cpus,
        cpu_models={REFERENCE: request.cpu_model} if request.cpu_model else {},
        end=options.end,
        end_screen=options.end_screen,
        volatile=list(options.volatile),
        quiet_seconds=request.quiet or QUIET,
        total_seconds=request.total or TOTAL,
    )
    return manifest, look


def _with_end(proposal: Proposal, options: ImageOptions) -> Proposal:
    """The proposal with the end that the user says."""
    if not options.end and not options.end_screen:
        return proposal
    return msgspec.structs.replace(proposal, end=options.end, end_screen=options.end_screen, no_end="")


def kept_boot(observation: Observation, screen: ScreenReading) -> dict[str, bytes]:
    """What a boot gave, as files by name: those that have something in them."""
    files = {
        "serial.bin": observation.serial,
        "debug.bin": observation.debug,
        "screen.png": observation.screen or b"",
        "screen.txt": "\n".join(screen.text).strip().encode(),
        **{file_name(name): data for name, data in observation.logs.items()},
    }
    return {name: data for name, data in files.items() if data}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def case_name(file: Path) -> str:
    """What a case of a file is called when nobody says: the file's name without the suffixes of its kind."""
    name = file.name
    while (shorter := _UNPACKED.sub("", name)) != name and shorter:
        name = shorter
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "image"


def _copied(source: Path, folder: Path, medium: str = "") -> tuple[str, Look]:
    """Copy or unpack an image into the case's folder, under a name that has its hash."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".copy-") as temporary:
        raw, look = unpacked(source, Path(temporary) / "raw", medium)
        copy = Path(temporary) / "copy"
        private_copy(raw, copy)
        name = f"{case_name(source)[:40]}-{sha256(copy)[:16]}{SUFFIXES[look.kind]}"
        copy.replace(folder / name)
    return name, look


def _module(request: str, folder: Path) -> str:
    """Copy a kernel's module into the case's folder. It keeps its name, which the kernel is given."""
    path, _, words = request.partition(" ")
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
