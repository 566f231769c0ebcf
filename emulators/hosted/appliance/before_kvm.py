"""Snapshots of Linux from before KVM is loaded: a KVM that was rebuilt is loaded into one after the restore, so that
it needs no start of Linux. They are keyed without KVM and its parameters.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from emulators.bochs.xvfb import Display, xvfb
from emulators.host import limits
from emulators.host.cache import Cache
from emulators.host.errors import EmulatorError
from emulators.host.scratch import scratch
from emulators.hosted.appliance import tracing
from emulators.hosted.appliance.cpio import REGULAR, ArchiveEntry, archive
from emulators.hosted.appliance.initramfs import TAKE
from emulators.hosted.appliance.keeping import FACTS, save_and_keep
from emulators.hosted.appliance.linuxboot import SECTOR, whole_sectors
from emulators.hosted.appliance.machine import ApplianceMachine
from emulators.hosted.appliance.start import SECOND_DISK, Hosting, booted, kvm_loaded, restored

VERSION = 1  # of what the functions here make; a change that the hashed inputs do not show must raise it
ROOM = 16 << 20  # bytes that the second disk has at least, for KVM's modules
MOST_BYTES = 4 << 30  # as of all snapshots, which these lie among
TAKEN = "/tmp/kvm.cpio"


class LinuxFacts(msgspec.Struct, frozen=True, kw_only=True):
    """facts.json of such a snapshot."""

    second_bytes: int
    cpu_seconds: float
    seconds: float
    instructions: float


class SavedLinux(NamedTuple):
    """Such a snapshot, and its key."""

    key: str
    folder: Path
    facts: LinuxFacts


@contextlib.asynccontextmanager
async def linux(
    cache: Path,
    hosting: Hosting,
    files: Mapping[str, bytes],
    guest_mib: int,
    disk_bytes: int,
    say: Callable[[str], None],
) -> AsyncIterator[SavedLinux]:
    """The snapshot with these files under /cases, made when the cache has none; nobody clears it away while the context
    lasts. Raises EmulatorError when it cannot be made.
    """
    key = _key(hosting, files, guest_mib, disk_bytes)

    async def make(folder: Path) -> None:
        say(f"starting Linux {hosting.appliance.kernel.release} inside Bochs, once for every KVM: a snapshot is kept")
        await _make(hosting, files, guest_mib, disk_bytes, key, folder)

    async with Cache(cache / "snapshots", MOST_BYTES).entry(key, make, say) as folder:
        facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=LinuxFacts)
        yield SavedLinux(key, folder, facts)


@contextlib.asynccontextmanager
async def loaded(
    hosting: Hosting, saved: SavedLinux, folder: Path, display: Display
) -> AsyncIterator[ApplianceMachine]:
    """An appliance that goes on from such a snapshot, with KVM loaded into it. Raises EmulatorError when it does not
    come up, or KVM does not load.
    """
    files = hosting.kvm_files()
    data = whole_sectors(
        archive(ArchiveEntry(f"cases/{name}", module, REGULAR | 0o644) for name, module in files.items())
    )
    if len(data) > saved.facts.second_bytes:
        raise EmulatorError(f"KVM's modules have {len(data)} bytes, which is more than the appliance takes")
    second = folder / SECOND_DISK
    second.write_bytes(data)
    os.truncate(second, saved.facts.second_bytes)
    power_on = time.monotonic()
    async with restored(hosting, saved.folder, second, folder, display) as machine:
        taking = f": >{TAKEN}; {TAKE} {len(data) // SECTOR} {TAKEN} && cd / && busybox cpio -id <{TAKEN}"
        code, said = await machine.ask(
            f'[ "$snapshot" = {saved.key} ] && {taking} && busybox rm {TAKEN}', limits.RESTORED
        )
        if code:
            words = said.decode(errors="replace")
            raise EmulatorError("KVM's modules did not come into the appliance", evidence=words)
        await machine.ask(f"load_kvm {shlex.join(hosting.parameters)}", limits.LINUX_START)
        await machine.wait_ready(power_on)
        machine.cpu_to_ready += saved.facts.cpu_seconds
        machine.seconds_to_ready += saved.facts.seconds
        await kvm_loaded(hosting, machine)
        yield machine


async def _make(
    hosting: Hosting, files: Mapping[str, bytes], guest_mib: int, disk_bytes: int, key: str, target: Path
) -> None:
    with scratch("linux") as folder:
        room = max(disk_bytes, ROOM)
        async with (
            xvfb() as display,
            booted(hosting, files, guest_mib, folder, second_bytes=room, display=display, later=True) as machine,
        ):
            await machine.ask(f"snapshot={key}")
            facts = LinuxFacts(
                second_bytes=(folder / SECOND_DISK).stat().st_size,
                cpu_seconds=machine.cpu_to_ready,
                seconds=machine.seconds_to_ready,
                instructions=machine.instructions_to_ready,
            )
            await save_and_keep(hosting, machine, target, facts)


def _key(hosting: Hosting, files: Mapping[str, bytes], guest_mib: int, disk_bytes: int) -> str:
    parts = [f"linux {VERSION}", hosting.appliance.key, hosting.plain_command_line, hosting.model]
    parts += [str(guest_mib), str(disk_bytes)]
    parts += [f"{key}={value}" for key, value in hosting.program.identity().items()]
    parts += [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in files.items()]
    parts += tracing.identity() if hosting.traced else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
