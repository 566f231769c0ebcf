"""Boots of target `kvm-hosted`: from a snapshot each, or all in one appliance."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from emulators.host import limits
from emulators.host.errors import EmulatorError, HostingError, Progress
from emulators.host.scratch import scratch
from emulators.hosted.appliance import initramfs, tracing
from emulators.hosted.appliance.machine import KERNEL_LOG, PORTS, QEMU_LOG, ApplianceMachine
from emulators.hosted.appliance.quirks import known_trouble
from emulators.hosted.appliance.snapshot import DISK, Shape, can_start, cannot_host, resumed, snapshot
from emulators.hosted.appliance.start import MODEL, Hosting, booted
from emulators.hosted.images import disks, file_name, hand_in
from emulators.hosted.kernel_log import faults
from emulators.hosted.remains import SETTLE, Remains, observe
from emulators.observation import WHOLE_CPU, Boot, Ending, Medium, Observation
from emulators.qemu.command_line import qemu_argv, qemu_line
from emulators.qemu.host_kvm import IGNORE_MSRS
from emulators.qemu.machine import Qemu
from emulators.watch import discarding

LARGEST_IMAGE = 2 << 30  # bytes
RESET_RIP = 0xFFF0


class HostedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is to know of its target."""

    target: str  # its name
    identity: dict[str, str]
    cpu: str  # of KVM's guest, unless a case asks for another
    cache: Path
    warm: bool  # whether boots start from snapshots
    unfit: dict[str, HostingError]  # by CPU model of the hosting Bochs: why KVM runs no guest there, once that is known

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.target, self.cpu)


class HostedSession:
    """Boots images: each in an appliance of its own that goes on from a snapshot, where it can be, or else all in one
    that is started for the first of them and thrown away when it breaks.
    """

    def __init__(self, settings: HostedSettings, hosting: Hosting, boots: Sequence[Boot], progress: Progress) -> None:
        self._settings = settings
        self._hosting = hosting
        self._progress = progress
        self._guest_mib = max((boot.machine.memory_mib for boot in boots), default=0)
        self._images = {digest: path for boot in boots for digest, path in disks(boot).items()}
        self._warm = settings.warm
        self._stack: contextlib.AsyncExitStack | None = None
        self._machine: ApplianceMachine | None = None
        self._broken = False  # whether the appliance of the last boot is of no further use
        self._running: Qemu | None = None  # the last boot's, stopped: it goes when the next one needs its ports

    async def boot(self, boot: Boot) -> Observation:
        begun = time.monotonic()
        if known := self._settings.unfit.get(self._hosting.model):
            raise known
        if (size := boot.image.stat().st_size) > LARGEST_IMAGE:
            hint = "native KVM takes it (--target kvm); or cut what is unused off it: truncate -s 2G COPY"
            raise EmulatorError(f"{size} bytes are too large for kvm-hosted, which has images in memory", hint=hint)
        image = await asyncio.to_thread(boot.image.read_bytes)
        plain = not (boot.medium == Medium.CDROM or boot.second or boot.machine.ignore_msrs)
        if self._warm and plain and can_start(image):
            try:
                return await self._boot_warm(boot, image, begun)
            except HostingError as error:
                raise self._remembered(error) from error
            except EmulatorError as error:
                # What keeps a snapshot from being made or used keeps no case from being booted.
                self._warm = False
                self._progress(f"no warm start: {error}")
        return await self._boot_cold(boot, begun)

    async def _boot_warm(self, boot: Boot, image: bytes, begun: float) -> Observation:
        shape = Shape(argv=tuple(self._argv(boot, DISK)), disk_bytes=len(image), guest_mib=boot.machine.memory_mib)
        async with contextlib.AsyncExitStack() as stack:
            state = await stack.enter_async_context(
                snapshot(self._settings.cache, self._hosting, shape, self._progress)
            )
            folder = stack.enter_context(scratch("hosted"))
            self._progress("booting under KVM")
            restoring = time.monotonic()
            machine = await stack.enter_async_context(resumed(self._hosting, state, image, folder))
            seconds = {"snapshot": restoring - begun, "appliance ready": time.monotonic() - restoring}
            qemu = Qemu(limits.INNER_QEMU_ANSWER)
            stack.push_async_callback(qemu.disconnect)

            async def resume() -> None:
                await qemu.resume(await machine.open_qmp())

            remains = await self._observe(machine, boot, list(shape.argv), qemu, resume, alone=True)
        facts = state.facts
        at_first = {
            "cpu seconds to ready, cold": facts.cpu_seconds_to_ready,
            "cpu seconds to snapshot, cold": facts.cpu_seconds,
            "emulated instructions to ready, cold": facts.instructions_to_ready,
            WHOLE_CPU: machine.bochs.process.cpu_seconds(),
        }
        return await self._observation(boot, remains, seconds, at_first, begun)

    async def _boot_cold(self, boot: Boot, begun: float) -> Observation:
        seconds: dict[str, float] = {}
        if self._machine is None:
            self._progress(f"starting Linux {self._hosting.appliance.kernel.release} with KVM inside Bochs")
            self._machine = await self._start()
            seconds["appliance ready"] = self._machine.seconds_to_ready
        elif self._running is not None:
            await self._retire(self._machine, self._running)
        self._progress("booting under KVM")
        assert self._machine is not None
        machine = self._machine
        if boot.image_sha256 not in self._images:
            await hand_in(machine, self._images, boot)
        files = {f"/cases/{file_name(digest)}": path for digest, path in disks(boot).items()}
        argv = self._argv(boot, *files)
        sizes = [f"busybox truncate -s {path.stat().st_size} {name}" for name, path in files.items()]
        ignoring = f"echo {int(boot.machine.ignore_msrs)} >{IGNORE_MSRS}"
        recording = [tracing.BEGIN] if self._hosting.traced else []
        self._running = qemu = Qemu(limits.INNER_QEMU_ANSWER)

        async def start() -> None:
            control = await machine.start_qemu(argv, "; ".join([*sizes, ignoring, *recording]))
            await qemu.connect(control, limits.INNER_QEMU_START)

        remains = await self._observe(machine, boot, argv, qemu, start, alone=False)
        if remains.end[0] == Ending.INTERNAL_ERROR and _at_reset(remains.registers):
            await self.close()
            raise self._remembered(cannot_host(remains.logs[QEMU_LOG]))
        if remains.end[0] == Ending.CRASH or self._broken:  # a machine that broke once is never used again
            await self.close()
        return await self._observation(boot, remains, seconds, {}, begun)

    def _remembered(self, error: HostingError) -> HostingError:
        """The same, known to all sessions on this CPU model from now on."""
        return self._settings.unfit.setdefault(self._hosting.model, error)

    def _argv(self, boot: Boot, image: str, second: str = "") -> list[str]:
        argv = qemu_argv(
            boot,
            executable=initramfs.QEMU,
            accelerator="kvm",
            cpu=self._settings.cpu_model(boot),
            image=image,
            second=second,
            ports=PORTS,
        )
        return [*argv, *initramfs.firmware_options()]

    async def close(self) -> None:
        """End the appliance, if it runs."""
        if self._running is not None:
            await self._running.disconnect()
        self._running = None
        if self._stack is not None:
            await self._stack.aclose()
        self._stack = self._machine = None
        self._broken = False

    async def _retire(self, machine: ApplianceMachine, qemu: Qemu) -> None:
        """End the QEMU of the boot before. An appliance in which that fails is thrown away."""
        try:
            async with discarding(machine.guest, machine.debug):
                await qemu.quit()
                await machine.qemu_ended()
                await asyncio.sleep(SETTLE)  # the last bytes on its ports are none of the next boot's
            await qemu.disconnect()
            self._running = None
        except EmulatorError:
            await self.close()
            self._machine = await self._start()

    async def _start(self) -> ApplianceMachine:
        self._stack = contextlib.AsyncExitStack()
        folder = self._stack.enter_context(scratch("hosted"))
        # Trailing zeros are left out here and put back by `truncate` in there.
        images = {file_name(digest): path.read_bytes().rstrip(b"\0") for digest, path in self._images.items()}
        try:
            return await self._stack.enter_async_context(booted(self._hosting, images, self._guest_mib, folder))
        except BaseException as error:
            await self.close()
            if isinstance(error, EmulatorError):
                model = self._hosting.model
                known = known_trouble(self._hosting.appliance.kernel.release, self._hosting.program.version, model)
                another = f"--host-cpu-model {MODEL}; `difftest doctor --models` tries which models host KVM"
                another = another if model != MODEL else ""
                error.hint = error.hint or known or another
            raise

    async def _observe(
        self,
        machine: ApplianceMachine,
        boot: Boot,
        argv: list[str],
        qemu: Qemu,
        start: Callable[[], Awaitable[None]],
        *,
        alone: bool,
    ) -> Remains:
        remains = await observe(machine, boot, argv, qemu, start, traced=self._hosting.traced, alone=alone)
        self._broken = remains.broken
        return remains

    async def _observation(
        self, boot: Boot, remains: Remains, seconds: dict[str, float], counters: dict[str, float], begun: float
    ) -> Observation:
        """`seconds` are of the phases before the boot; the whole lasted from `begun` to now."""
        cpu_model = self._settings.cpu_model(boot)
        return await remains.watch.observation(
            self._settings.target,
            {**self._settings.identity, "cpu model": cpu_model, **remains.parameters},
            remains.end,
            **msgspec.structs.asdict(remains.dump),
            registers=remains.registers,
            logs=remains.logs,
            kernel_faults=faults(remains.logs[KERNEL_LOG]),
            panics=remains.panics,
            seconds={**seconds, **remains.watch.seconds, "whole": time.monotonic() - begun},
            counters={**remains.counters, **counters},
            commands=remains.commands,
            by_hand=qemu_line(boot, "kvm", cpu_model),
        )


def _at_reset(registers: Mapping[str, str]) -> bool:
    """Whether the guest has not run: it is where a CPU begins after a reset."""
    return int(registers.get("rip", "0"), 16) == RESET_RIP
