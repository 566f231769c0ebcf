"""Boots of target `kvm-hosted`: from a snapshot each, or all in one appliance."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from emulators.bochs.log import panics
from emulators.host import limits
from emulators.host.errors import EmulatorError, HostingError, Progress
from emulators.host.files import read_log
from emulators.host.limits import AnswerTimeout, in_time
from emulators.host.paths import neutral_argv
from emulators.host.scratch import scratch
from emulators.hosted import parameters
from emulators.hosted.appliance import initramfs, tracing
from emulators.hosted.appliance.machine import DUMP, IPS, KERNEL_LOG, ORDER, PORTS, QEMU_LOG, ApplianceMachine
from emulators.hosted.appliance.quirks import known_trouble
from emulators.hosted.appliance.snapshot import DISK, Shape, can_start, cannot_host, resumed, snapshot
from emulators.hosted.appliance.start import MODEL, Hosting, booted
from emulators.hosted.exit_log import exit_log
from emulators.hosted.kernel_log import faults
from emulators.observation import EXITS_LOG, WHOLE_CPU, Boot, Ending, Limits, Medium, Observation
from emulators.qemu.dump import Dump, dump, read_dump
from emulators.qemu.machine import IdleProbes, Qemu, kvm_failure, qemu_argv, qemu_line
from emulators.qemu.order import cut, left_by_port
from emulators.qemu.screen import QemuScreen
from emulators.qemu.target import IGNORE_MSRS
from emulators.qemu.vcpus import CpuShare, asleep_command, guest_state_command, parsed_state, slept, spare
from emulators.watch import End, GuestState, Watch, discarding

SLOWER = (
    4.0  # a boot's deadlines are given for a guest that runs directly; KVM inside Bochs takes this many times as long
)
LOOK = 10.0  # seconds of silence after which the screen is looked at, again and again: this costs even more
POLL = 0.1  # seconds of silence after which it is seen whether the CPUs have halted
LATE_POLL = (
    0.8  # the same where a terminal marker is to come: such a guest only halts without a word when something went wrong
)
MOST_CHANGES = (
    64  # bytes in which an image may differ from one that the appliance has: the size of a selection of checks
)
DEAF = (
    "Linux under its KVM does not answer either, so that nothing of the guest can be observed: as when it loops with "
    "interrupts off, which under Bochs lets no interrupt of the host through"
)
LARGEST_IMAGE = 2 << 30  # bytes
RESET_RIP = 0xFFF0
SETTLE = 0.1  # seconds that the tail of a boot gets; the guest also runs on while QEMU stops


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is to know of its target."""

    target: str  # its name
    identity: dict[str, str]
    cpu: str  # of KVM's guest, unless a case asks for another
    cache: Path
    warm: bool  # whether boots start from snapshots
    unfit: dict[str, HostingError]  # by CPU model of the hosting Bochs: why KVM runs no guest there, once that is known

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.target, self.cpu)


class _Remains(NamedTuple):
    """What is left of a boot when it is over: all of its observation but what its appliance took as a whole."""

    watch: Watch
    end: End
    identity: dict[str, str]
    dump: Dump
    registers: dict[str, str]
    logs: dict[str, bytes]
    panics: list[str]  # of the Bochs under KVM
    counters: dict[str, float]
    commands: list[list[str]]


class HostedSession:
    """Boots images: each in an appliance of its own that goes on from a snapshot, where it can be, or else all in one
    that is started for the first of them and thrown away when it breaks.
    """

    def __init__(self, settings: Settings, hosting: Hosting, boots: Sequence[Boot], progress: Progress) -> None:
        self._settings = settings
        self._hosting = hosting
        self._progress = progress
        self._guest_mib = max((boot.machine.memory_mib for boot in boots), default=0)
        self._images = {digest: path for boot in boots for digest, path in _disks(boot).items()}
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
            await self._hand_in(machine, boot)
        disks = {f"/cases/{file_name(digest)}": path for digest, path in _disks(boot).items()}
        argv = self._argv(boot, *disks)
        sizes = [f"busybox truncate -s {path.stat().st_size} {name}" for name, path in disks.items()]
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

    async def _hand_in(self, machine: ApplianceMachine, boot: Boot) -> None:
        """Make an image that was not there at the start out of one that was and differs little from it.

        Raises EmulatorError when there is none: only images of the session's boots, and selections of them, can be
        booted.
        """
        wanted = boot.image.read_bytes()
        for digest, path in self._images.items():
            changes = _changes(path.read_bytes(), wanted)
            if changes is not None:
                base, new = (f"/cases/{file_name(name)}" for name in (digest, boot.image_sha256))
                patch = "printf '\\{:03o}' | busybox dd of={} bs=1 seek={} conv=notrunc"
                patches = [patch.format(wanted[at], new, at) for at in changes]
                code, said = await machine.ask("; ".join([f"busybox cp {base} {new}", *patches]))
                if code:
                    raise EmulatorError(
                        "the image cannot be patched in the appliance", evidence=said.decode(errors="replace")
                    )
                return
        raise EmulatorError("the appliance was not started with an image that this one can be made of")

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
    ) -> _Remains:
        """Boot in a QEMU that `start` brings to where it is stopped, before the image. `alone` is whether it
        is the only boot of this appliance, which need not run on once all is fetched.
        """
        self._broken = False
        deadlines = Limits(
            quiet=boot.limits.quiet * SLOWER, total=boot.limits.total * SLOWER, serial_bytes=boot.limits.serial_bytes
        )
        watch = Watch(msgspec.structs.replace(boot, limits=deadlines))
        left = Dump()
        registers: dict[str, str] = {}
        log = kernel_log = b""
        end: End | None = None
        exits: dict[str, bytes] = {}
        cpu_before, uptime_before = machine.bochs.process.cpu_seconds(), machine.uptime
        log_from = machine.bochs.log.stat().st_size if machine.bochs.log.exists() else 0

        async def asleep(threads: Sequence[int]) -> bool:
            _, said = await machine.ask(asleep_command(threads))
            return slept(said.decode(errors="replace"), len(threads), spare(boot.machine.qemu_options))

        share = CpuShare()

        async def state(threads: Sequence[int]) -> GuestState:
            _, said = await machine.ask(guest_state_command(threads, boot.machine.memory_mib << 20))
            return parsed_state(share, said.decode(errors="replace"))

        async def died() -> End:
            return Ending.CRASH, f"QEMU ended with exit code {await machine.gone()}"

        try:
            await start()
            watch.mark("qemu ready")
            others = machine.ended(), died(), machine.left(), machine.shut_down()
            screen = QemuScreen(qemu, "/tmp", machine.fetch, machine.checksum)
            ports = machine.guest, machine.debug
            looks = IdleProbes(screen, LOOK, asleep, LATE_POLL if boot.end else POLL, state, SETTLE)
            end = await qemu.run(boot, watch, *ports, *others, looks=looks)
            async with discarding(*ports):
                if end[0] != Ending.CRASH:
                    try:
                        dumping = dump(qemu, DUMP, boot.ram_log)
                        registers = await in_time(dumping, limits.LAST_LOOK, "QEMU does not stop its guest")
                    except AnswerTimeout as error:
                        end = end[0], f"{end[1]}; then {error}"
                        self._broken = True
                    watch.mark("dumped")
                if self._broken and not await machine.answers(limits.DEAF):
                    end = end[0], f"{end[1]}; {DEAF}"
                    kernel_log = machine.console().encode()
                    await machine.kill()
                else:
                    if left_by_port(end):
                        cut(watch, await machine.fetch(ORDER), end)
                    files = await machine.collect()
                    if self._hosting.traced:
                        exits = await tracing.traced(machine)
                    if alone:
                        machine.end()
                    log, kernel_log = files[QEMU_LOG], files[KERNEL_LOG]
                    left = await read_dump(files)
                    watch.mark("fetched")
        except EmulatorError as error:
            if end is None or end[0] != Ending.CRASH:
                end = Ending.CRASH, f"{error} {error.evidence[-300:]}".strip()
            self._broken = True
            log = log or error.evidence.encode()
            kernel_log = kernel_log or machine.console().encode()
        cpu = machine.bochs.process.cpu_seconds()
        if failure := kvm_failure(log):
            end = Ending.INTERNAL_ERROR, failure
        return _Remains(
            watch=watch,
            end=end,
            identity={
                **self._settings.identity,
                "cpu model": self._settings.cpu_model(boot),
                **parameters.identity(machine.ready_line),
            },
            dump=left,
            registers=registers,
            logs={QEMU_LOG: log, KERNEL_LOG: kernel_log, **({EXITS_LOG: exit_log(exits)} if exits else {})},
            panics=panics(read_log(machine.bochs.log, log_from)),
            counters={
                "cpu seconds": cpu - cpu_before,
                "cpu seconds to ready": machine.cpu_to_ready,
                "emulated instructions to ready": machine.instructions_to_ready,
                "emulated instructions": (machine.uptime - uptime_before) * IPS,
            },
            commands=[neutral_argv(machine.bochs.process.argv), argv],
        )

    async def _observation(
        self, boot: Boot, remains: _Remains, seconds: dict[str, float], counters: dict[str, float], begun: float
    ) -> Observation:
        """`seconds` are of the phases before the boot; the whole lasted from `begun` to now."""
        return await remains.watch.observation(
            self._settings.target,
            remains.identity,
            remains.end,
            **msgspec.structs.asdict(remains.dump),
            registers=remains.registers,
            logs=remains.logs,
            kernel_faults=faults(remains.logs[KERNEL_LOG]),
            panics=remains.panics,
            seconds={**seconds, **remains.watch.seconds, "whole": time.monotonic() - begun},
            counters={**remains.counters, **counters},
            commands=remains.commands,
            by_hand=qemu_line(boot, "kvm", self._settings.cpu_model(boot)),
        )


def _at_reset(registers: Mapping[str, str]) -> bool:
    """Whether the guest has not run: it is where a CPU begins after a reset."""
    return int(registers.get("rip", "0"), 16) == RESET_RIP


def _disks(boot: Boot) -> dict[str, Path]:
    """The images of a boot by their hashes, the one it starts from first."""
    return {boot.image_sha256: boot.image, **({boot.second_sha256: boot.second} if boot.second else {})}


def file_name(digest: str) -> str:
    return f"{digest[:16]}.img"


def _changes(base: bytes, wanted: bytes) -> list[int] | None:
    """The places at which `wanted` differs from `base`; None when the two are not nearly the same."""
    if len(base) != len(wanted):
        return None
    places = [at for at, (old, new) in enumerate(zip(base, wanted, strict=True)) if old != new]
    return places if len(places) <= MOST_CHANGES else None
