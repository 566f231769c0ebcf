"""Snapshots: an appliance that was booted once and saved where the firmware of QEMU's guest has just handed over to the
disk.

What waits there is the stand-in of standin.S. A restored appliance is given the image, and an NMI. So neither Linux nor
QEMU nor the firmware is started for a case, and each case has an appliance that no other has used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from emulators.bochs.xvfb import Display, xvfb
from emulators.host import limits
from emulators.host.cache import Cache
from emulators.host.errors import EmulatorError, HostingError
from emulators.host.files import sha256_cached
from emulators.host.scratch import scratch
from emulators.hosted.appliance import tracing
from emulators.hosted.appliance.assembler import assembled
from emulators.hosted.appliance.before_kvm import linux, loaded
from emulators.hosted.appliance.initramfs import TAKE
from emulators.hosted.appliance.keeping import save_and_keep
from emulators.hosted.appliance.linuxboot import SECTOR
from emulators.hosted.appliance.machine import DUMP, QEMU_LOG, TELL_UPTIME, ApplianceMachine
from emulators.hosted.appliance.start import MODEL, SECOND_DISK, Hosting, booted, restored
from emulators.qemu.machine import Qemu, kvm_failure

VERSION = 5  # of what the functions here make; a change that the hashed inputs do not show must raise it
STANDIN, STANDIN_ADDRESS = Path(__file__).with_name("standin.S"), 0x600
DISK = "/cases/disk.img"
BOOTABLE = b"\x55\xaa"  # at the end of a boot sector that the firmware hands over to
POLL = 0.1
MOST_BYTES = 4 << 30  # of all snapshots; the longest unused go first


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What boots must have in common to start from one snapshot: all but the content of the disk."""

    argv: tuple[str, ...]  # QEMU's command line, with DISK as the disk
    disk_bytes: int
    guest_mib: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """facts.json: what a snapshot is of. `instructions` are emulated ones."""

    shape: Shape
    second_bytes: int  # the size of the appliance's second disk, by which an image comes in
    ready_line: str
    cpu_seconds_to_ready: float
    seconds_to_ready: float
    instructions_to_ready: float
    cpu_seconds: float  # up to where it was saved


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot in the cache, or just made."""

    key: str
    folder: Path
    facts: Facts


def can_start(image: bytes) -> bool:
    """Whether the firmware would hand over to this disk, as it does to the stand-in."""
    return image[SECTOR - 2 : SECTOR] == BOOTABLE


def snapshots(cache: Path) -> Cache:
    return Cache(cache / "snapshots", MOST_BYTES)


@contextlib.asynccontextmanager
async def snapshot(cache: Path, hosting: Hosting, shape: Shape, say: Callable[[str], None]) -> AsyncIterator[Snapshot]:
    """The snapshot of this shape, made when the cache has none; nobody clears it away while the context lasts.

    Raises EmulatorError when it cannot be made.
    """
    key = _key(hosting, shape)

    async def make(folder: Path) -> None:
        if not hosting.appliance.kernel.kvm:
            say(f"starting Linux {hosting.appliance.kernel.release} with KVM inside Bochs, once: a snapshot is kept")
        await _make(cache, hosting, shape, key, folder, say)

    async with snapshots(cache).entry(key, make, say) as folder:
        facts = msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)
        yield Snapshot(key=key, folder=folder, facts=facts)


@contextlib.asynccontextmanager
async def resumed(hosting: Hosting, snapshot: Snapshot, image: bytes, folder: Path) -> AsyncIterator[ApplianceMachine]:
    """An appliance that goes on from its snapshot, in which the image lies on the disk of a QEMU that is stopped.

    Raises EmulatorError when it does not come up.
    """
    content = image.rstrip(b"\0")
    second = folder / SECOND_DISK
    second.write_bytes(content)
    os.truncate(second, snapshot.facts.second_bytes)
    async with restored(hosting, snapshot.folder, second, folder) as machine:
        taking = f"{TAKE} {-(-len(content) // SECTOR)} {DISK}"
        if hosting.traced:
            taking += f" && {{ {tracing.BEGIN}; }}"
        # A Bochs that cannot read a state boots instead, and then knows nothing of it.
        code, said = await machine.ask(
            f'[ "$snapshot" = {snapshot.key} ] && {taking} && {{ {TELL_UPTIME}; }}', limits.RESTORED
        )
        if code:
            trouble = said.decode(errors="replace")
            unrestored = "the appliance was not restored from its snapshot"
            raise EmulatorError(f"the image did not come into the appliance: {trouble}" if trouble else unrestored)
        machine.read_uptime(said)
        machine.cpu_to_ready = machine.bochs.process.cpu_seconds()
        machine.ready_line = snapshot.facts.ready_line
        yield machine


async def _make(
    cache: Path, hosting: Hosting, shape: Shape, key: str, target: Path, say: Callable[[str], None]
) -> None:
    """Bring an appliance to where a case can be handed in, and save it into a folder."""
    with scratch("snapshot") as folder:
        async with (
            xvfb() as display,
            _with_kvm(cache, hosting, shape, folder, display, say) as machine,
        ):
            control = await machine.start_qemu(list(shape.argv), f"busybox truncate -s {shape.disk_bytes} {DISK}")
            qemu = Qemu(limits.INNER_QEMU_ANSWER)
            await qemu.connect(control, limits.INNER_QEMU_START)
            await handed_over(machine, qemu)
            await qemu.execute("stop")
            await qemu.disconnect()
            await machine.ask(f"snapshot={key}")
            facts = Facts(
                shape=shape,
                second_bytes=(folder / SECOND_DISK).stat().st_size,
                ready_line=machine.ready_line,
                cpu_seconds_to_ready=machine.cpu_to_ready,
                seconds_to_ready=machine.seconds_to_ready,
                instructions_to_ready=machine.instructions_to_ready,
                cpu_seconds=machine.bochs.process.cpu_seconds(),
            )
            await save_and_keep(hosting, machine, target, facts)


@contextlib.asynccontextmanager
async def _with_kvm(
    cache: Path, hosting: Hosting, shape: Shape, folder: Path, display: Display, say: Callable[[str], None]
) -> AsyncIterator[ApplianceMachine]:
    """An appliance with KVM loaded: booted, or where KVM comes apart from it restored from before KVM was loaded."""
    standin = {Path(DISK).name: assembled(STANDIN, STANDIN_ADDRESS, folder)}
    if not hosting.appliance.kernel.kvm:
        async with booted(
            hosting, standin, shape.guest_mib, folder, second_bytes=shape.disk_bytes, display=display
        ) as machine:
            yield machine
        return
    async with (
        linux(cache, hosting, standin, shape.guest_mib, shape.disk_bytes, say) as saved,
        loaded(hosting, saved, folder, display) as machine,
    ):
        yield machine


async def handed_over(machine: ApplianceMachine, qemu: Qemu) -> None:
    """Let the guest go and wait until the stand-in waits. Raises EmulatorError when the firmware does not come to it,
    HostingError when KVM cannot run the firmware.
    """
    await qemu.execute("cont")
    deadline = time.monotonic() + limits.FIRMWARE
    while not await qemu.halted():
        if await qemu.gave_up():
            raise cannot_host(await machine.fetch(f"{DUMP}/{QEMU_LOG}"))
        if time.monotonic() > deadline:
            raise EmulatorError("the firmware of QEMU's guest does not hand over to its disk")
        await asyncio.sleep(POLL)


def cannot_host(qemu_log: bytes) -> HostingError:
    """The error for a KVM that gave up on a guest's first instructions."""
    words = kvm_failure(qemu_log) or "KVM internal error"
    return HostingError(
        f"this emulated CPU cannot host KVM, which fails at a guest's first instructions: {words}",
        hint=f"--host-cpu-model {MODEL} can; `difftest doctor --models` tries them all",
    )


async def try_to_host(hosting: Hosting, shape: Shape) -> None:
    """Boot an appliance and let KVM in it run a guest's firmware. Raises EmulatorError, HostingError among them, when
    that fails.
    """
    with scratch("hosting") as folder:
        standin = {Path(DISK).name: assembled(STANDIN, STANDIN_ADDRESS, folder)}
        async with booted(hosting, standin, shape.guest_mib, folder) as machine:
            control = await machine.start_qemu(list(shape.argv), f"busybox truncate -s {shape.disk_bytes} {DISK}")
            qemu = Qemu(limits.INNER_QEMU_ANSWER)
            await qemu.connect(control, limits.INNER_QEMU_START)
            await handed_over(machine, qemu)
            await qemu.disconnect()


def _key(hosting: Hosting, shape: Shape) -> str:
    parts = [
        str(VERSION),
        hosting.appliance.key,
        hosting.command_line,
        hosting.model,
        shlex.join(shape.argv),
        str(shape.disk_bytes),
    ]
    parts += [f"{key}={value}" for key, value in hosting.program.identity().items()]
    parts += [sha256_cached(STANDIN), str(shape.guest_mib)]
    parts += [hosting.appliance.kernel.kvm_sha256] if hosting.appliance.kernel.kvm else []
    parts += tracing.identity() if hosting.traced else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
