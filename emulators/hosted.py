"""Target `kvm-hosted`: KVM of a kernel of the user's choice, running inside Bochs. Needs no virtualization hardware."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from emulators.appliance import build, initramfs, kernel
from emulators.appliance.machine import PORTS, ApplianceMachine
from emulators.appliance.quirks import known_trouble
from emulators.appliance.snapshot import DISK, Shape, can_start, resumed, snapshot
from emulators.appliance.start import MODEL, Hosting, appliance_by_hand, booted
from emulators.bochs import bochs_requirements
from emulators.bochs_models import check_cpu_model
from emulators.bochs_program import BochsProgram, installed, program, quickest
from emulators.by_hand import IMAGE, SECOND, ByHand, qemu_by_hand
from emulators.files import cache_folder, sha256
from emulators.native import IGNORE_MSRS, kvm_by_hand, kvm_variants
from emulators.observation import Boot, Ending, Limits, Machine, Observation
from emulators.qemu import Qemu, kvm_failure, machine_argv, qemu_argv, qemu_line, stock_argv
from emulators.qemu_program import INSTALL_QEMU, qemu_program
from emulators.target import NESTED, EmulatorError, Progress, Requirement, Session
from emulators.watch import End, Watch, discarding

CPU = "host,vmx=on"
SLOWER = 4.0  # a boot's deadlines are given for a guest that runs directly; KVM inside Bochs takes this many times as long
CONNECT_SECONDS = 60.0
LOOK = 10.0  # seconds of silence after which the screen is looked at, again and again: dearer still
POLL = 0.7  # seconds of silence after which the CPUs are asked whether they have halted: asking is dear here
END_SECONDS = 60.0
MOST_CHANGES = 64  # bytes in which an image may differ from one that the appliance has: the size of a selection of checks
SETTLE = 0.1  # seconds that the tail of a boot gets; the guest also runs on while QEMU is told to stop

# What L0's kernel says when KVM has a bug of its own.
KERNEL_FAULT = re.compile(r"\b(?:WARNING:|BUG:|Oops:|general protection fault|kernel BUG at|invalid opcode:|divide error:)")


class KvmHosted:
    """See emulators.target.Target."""

    name = "kvm-hosted"
    implementation = "KVM"
    inherits = "Bochs"

    def __init__(
        self,
        wanted_kernel: str | None = None,
        cache: Path | None = None,
        wanted_bochs: str | None = None,
        model: str | None = None,
        wanted_qemu: str | None = None,
        cold: bool = False,
    ) -> None:
        """`wanted_bochs` is the Bochs that hosts KVM, chosen apart from the reference's, None the quickest that can be had, and
        `wanted_qemu` the path of the QEMU in there, None the distribution's. `model` is the CPU of that Bochs; KVM's guest sees
        of it what KVM gives. `cold` is to boot Linux for each session, and not to restore it from a snapshot for each boot.

        Raises EmulatorError when `wanted_qemu` is no QEMU.
        """
        self.cold = cold
        self.wanted_kernel = wanted_kernel
        self.wanted_bochs = wanted_bochs
        self.model = model or MODEL
        self.cache = cache or cache_folder()
        self.qemu = qemu_program(wanted_qemu)
        self._appliance: build.Appliance | None = None
        self._program: BochsProgram | None = None

    @property
    def shares_start(self) -> bool:
        return not self.warm

    @property
    def warm(self) -> bool:
        """Whether boots start from snapshots. Only known once the target is prepared."""
        saves = self._program is not None and self._program.saves_state
        return saves and not self.cold and all(shutil.which(tool) for tool in ("xdotool", "Xvfb"))

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED

    def requirements(self) -> list[Requirement]:
        tools = {
            "gcc": "gcc binutils",
            "dpkg-deb": "dpkg",
            "apt-get": "apt",
            "strip": "binutils",
            "lz4": "lz4",
            "ldd": "libc-bin",
        }
        return [
            *bochs_requirements(self.wanted_bochs, "sdl2"),
            self.qemu.requirement(),
            Requirement("QEMU's firmware", all(path.exists() for path in initramfs.FIRMWARE.values()), "seabios", INSTALL_QEMU),
            Requirement("busybox, static", initramfs.BUSYBOX.exists(), str(initramfs.BUSYBOX), "apt-get install busybox-static"),
            *(Requirement(tool, shutil.which(tool) is not None, "", f"apt-get install {get}") for tool, get in tools.items()),
        ]

    def appliance(self, progress: Progress) -> build.Appliance:
        """The appliance of the kernel that was asked for, fetched and built when need be. Raises EmulatorError."""
        if self._appliance is None:
            fetched = kernel.fetch(self.wanted_kernel, self.cache, progress)
            qemu = Path(shutil.which(self.qemu.executable) or initramfs.QEMU)
            self._appliance = build.ensure(fetched, qemu, self.cache / "appliances", progress)
        return self._appliance

    def program(self, progress: Progress) -> BochsProgram:
        """The Bochs that hosts KVM, fetched when need be. Raises EmulatorError."""
        if self._program is None:
            wanted = self.wanted_bochs
            self._program = program(wanted, self.cache, progress) if wanted else quickest(self.cache, progress)
        return self._program

    def by_hand(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> ByHand:
        """QEMU with the KVM of whatever host it is, or the appliance with the image in it, which starts QEMU on its own."""
        serial = f"{self.name}.serial"
        cpu = self.cpu_model(boot)
        quiet = ["-display", "none", "-no-reboot"]
        if not carry:
            argv = [*stock_argv(boot, "kvm", cpu), *quiet, "-serial", f"file:{serial}"]
            return qemu_by_hand(argv, serial, kvm_by_hand(needs))
        paths = {f"/cases/{name}": path for name, path in ((IMAGE, boot.image), (SECOND, boot.second)) if path is not None}
        image, second = (*paths, "")[:2]
        machine = machine_argv(boot, executable=initramfs.QEMU, accelerator="kvm", cpu=cpu, image=image, second=second)
        port = ["-chardev", f"{PORTS.com1},id=com1", "-serial", "chardev:com1"]
        contents = {name: path.read_bytes() for name, path in paths.items()}
        lines = [
            *(f"busybox truncate -s {len(data)} {name}" for name, data in contents.items()),
            f"{shlex.join([*machine, *quiet, *port, *_firmware()])} </dev/null >&3 2>&1",
        ]
        files = {name.rpartition("/")[2]: data.rstrip(b"\0") for name, data in contents.items()}
        files["run"] = ("\n".join(lines) + "\n").encode()
        return appliance_by_hand(self.appliance(lambda line: None), self.model, files, boot.machine.memory_mib, serial)

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, CPU)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return kvm_variants(machine, self.name, CPU)

    def prepare(self, progress: Progress) -> None:
        """Fetch Bochs and kernel and build the appliance, unless the cache has them. Raises EmulatorError."""
        hosting = self.program(progress)
        if self.model != MODEL:
            check_cpu_model(hosting, self.model)
        self.appliance(progress)

    def identity(self) -> dict[str, str]:
        bochs = {f"hosting {key}": value for key, value in (self._program or installed()).identity().items()}
        known = self._appliance
        built = {"kernel": known.kernel.release, "kernel package": known.kernel.package, "appliance": known.key} if known else {}
        models = {"cpu model": CPU, "hosting cpu model": self.model, "kernel arch": "x86_64"}
        return {**self.qemu.identity(), **bochs, **built, "accelerator": "kvm", **models}

    def thorough(self) -> KvmHosted | None:
        """With cold starts, when this one's are warm."""
        if not self.warm:
            return None
        cold = copy.copy(self)
        cold.cold = True
        return cold

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        appliance = await asyncio.to_thread(self.appliance, progress)
        program = await asyncio.to_thread(self.program, progress)
        hosting = Hosting(appliance=appliance, program=program, model=self.model)
        session = HostedSession(self, hosting, boots, progress)
        try:
            yield session
        finally:
            await session.close()


class HostedSession:
    """Boots images: each in an appliance of its own that goes on from a snapshot, where it can be, or else all in one that is
    started for the first of them and thrown away when it breaks.
    """

    def __init__(self, target: KvmHosted, hosting: Hosting, boots: Sequence[Boot], progress: Progress) -> None:
        self._target = target
        self._hosting = hosting
        self._progress = progress
        self._guest_mib = max((boot.machine.memory_mib for boot in boots), default=0)
        self._images = {digest: path for boot in boots for digest, path in _disks(boot).items()}
        self._warm = target.warm
        self._stack: contextlib.AsyncExitStack | None = None
        self._machine: ApplianceMachine | None = None
        self._running: Qemu | None = None  # the last boot's, stopped: it goes when the next one needs its ports

    async def boot(self, boot: Boot) -> Observation:
        begun = time.monotonic()
        image = await asyncio.to_thread(boot.image.read_bytes)
        plain = not (boot.cdrom or boot.second or boot.machine.ignore_msrs)
        if self._warm and plain and can_start(image):
            try:
                return await self._boot_warm(boot, image, begun)
            except EmulatorError as error:
                # What keeps a snapshot from being made or used keeps no case from being booted.
                self._warm = False
                self._progress(f"no warm start: {error}")
        return await self._boot_cold(boot, begun)

    async def _boot_warm(self, boot: Boot, image: bytes, begun: float) -> Observation:
        shape = Shape(argv=tuple(self._argv(boot, DISK)), disk_bytes=len(image), guest_mib=boot.machine.memory_mib)
        async with contextlib.AsyncExitStack() as stack:
            kept = await stack.enter_async_context(snapshot(self._target.cache, self._hosting, shape, self._progress))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="difftest-hosted-")))
            self._progress("booting under KVM")
            restoring = time.monotonic()
            machine = await stack.enter_async_context(resumed(self._hosting, kept, image, folder))
            seconds = {"snapshot": restoring - begun, "appliance ready": time.monotonic() - restoring}
            qemu = Qemu()
            stack.push_async_callback(qemu.disconnect)

            async def resume() -> None:
                await qemu.resume(await machine.open_qmp())

            observation = await self._observe(machine, boot, list(shape.argv), qemu, resume)
        facts = kept.facts
        at_first = {
            "cpu seconds to ready, cold": facts.cpu_seconds_to_ready,
            "cpu seconds to snapshot, cold": facts.cpu_seconds,
            "emulated instructions to ready, cold": facts.instructions_to_ready,
        }
        observation = msgspec.structs.replace(observation, counters={**observation.counters, **at_first})
        return _timed(observation, seconds, begun)

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
        self._running = qemu = Qemu()

        async def start() -> None:
            control = await machine.start_qemu(argv, "; ".join([*sizes, ignoring]))
            await qemu.connect(control, CONNECT_SECONDS)

        observation = await self._observe(machine, boot, argv, qemu, start)
        if observation.ending == Ending.CRASH:  # a machine that broke once is never used again
            await self.close()
        return _timed(observation, seconds, begun)

    def _argv(self, boot: Boot, image: str, second: str = "") -> list[str]:
        argv = qemu_argv(
            boot,
            executable=initramfs.QEMU,
            accelerator="kvm",
            cpu=self._target.cpu_model(boot),
            image=image,
            second=second,
            ports=PORTS,
        )
        return [*argv, *_firmware()]

    async def close(self) -> None:
        """End the appliance, if it runs."""
        if self._running is not None:
            await self._running.disconnect()
        self._running = None
        if self._stack is not None:
            await self._stack.aclose()
        self._stack = self._machine = None

    async def _hand_in(self, machine: ApplianceMachine, boot: Boot) -> None:
        """Make an image that was not there at the start out of one that was and differs little from it.

        Raises EmulatorError when there is none: only images of the session's boots, and selections of them, can be booted.
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
                    raise EmulatorError("the image cannot be patched in the appliance", evidence=said.decode(errors="replace"))
                return
        raise EmulatorError("the appliance was not started with an image that this one can be made of")

    async def _retire(self, machine: ApplianceMachine, qemu: Qemu) -> None:
        """End the QEMU of the boot before. An appliance in which that fails is thrown away."""
        try:
            async with discarding(machine.guest, machine.debug):
                await qemu.quit()
                await machine.qemu_ended(END_SECONDS)
                await asyncio.sleep(SETTLE)  # the last bytes on its ports are none of the next boot's
            await qemu.disconnect()
            self._running = None
        except EmulatorError:
            await self.close()
            self._machine = await self._start()

    async def _start(self) -> ApplianceMachine:
        self._stack = contextlib.AsyncExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="difftest-hosted-")))
        # Trailing zeros are left out here and put back by `truncate` in there.
        images = {file_name(digest): path.read_bytes().rstrip(b"\0") for digest, path in self._images.items()}
        try:
            return await self._stack.enter_async_context(booted(self._hosting, images, self._guest_mib, folder))
        except BaseException as error:
            await self.close()
            if isinstance(error, EmulatorError):
                model = self._target.model
                known = known_trouble(self._hosting.appliance.kernel.release, self._hosting.program.version, model)
                another = f"not every CPU model of Bochs hosts KVM: {MODEL} does" if model != MODEL else ""
                error.hint = error.hint or known or another
            raise

    async def _observe(
        self, machine: ApplianceMachine, boot: Boot, argv: list[str], qemu: Qemu, start: Callable[[], Awaitable[None]]
    ) -> Observation:
        """Boot in a QEMU that `start` brings to where it stands stopped, in front of the image."""
        limits = Limits(quiet=boot.limits.quiet * SLOWER, total=boot.limits.total * SLOWER, serial_bytes=boot.limits.serial_bytes)
        watch = Watch(msgspec.structs.replace(boot, limits=limits))
        cpu_model = self._target.cpu_model(boot)
        screen = memory = None
        registers: dict[str, str] = {}
        log = kernel_log = b""
        cpu_before = machine.bochs.process.cpu_seconds()

        async def died() -> End:
            return Ending.CRASH, f"QEMU ended with exit code {await machine.gone()}"

        try:
            await start()
            watch.mark("qemu ready")
            others = died(), machine.left(), machine.shut_down()
            look = functools.partial(qemu.glance, "/tmp/glance.ppm", machine.checksum)
            ports = machine.guest, machine.debug
            end = await qemu.run(boot, watch, *ports, *others, look=look, look_every=LOOK, poll=POLL, settle=SETTLE)
            async with discarding(*ports):
                if end[0] != Ending.CRASH:
                    await qemu.execute("stop")
                    registers = await qemu.registers()
                    watch.mark("registers")
                    memory = await qemu.text_memory("/tmp/text.bin", machine.fetch)
                    watch.mark("text memory")
                    screen = await qemu.picture("/tmp/screen.ppm", machine.fetch)
                    watch.mark("picture")
                log, kernel_log = await machine.read_logs()
                watch.mark("logs")
        except EmulatorError as error:
            end = Ending.CRASH, f"{error} {error.evidence[-300:]}".strip()
            log = log or error.evidence.encode()
            kernel_log = kernel_log or machine.console().encode()
        cpu = machine.bochs.process.cpu_seconds()
        if failure := kvm_failure(log):
            end = Ending.INTERNAL_ERROR, failure
        return Observation(
            target=self._target.name,
            identity={**self._target.identity(), "cpu model": cpu_model},
            image_sha256=boot.image_sha256,
            image_sha256_after=await asyncio.to_thread(sha256, boot.image),
            ending=end[0],
            detail=end[1],
            serial=bytes(watch.serial.data),
            debug=bytes(watch.debug.data),
            screen=screen,
            text_memory=memory,
            registers=registers,
            logs={"qemu.log": log, "kernel.log": kernel_log},
            kernel_faults=[
                line.strip() for line in kernel_log.decode(errors="replace").splitlines() if KERNEL_FAULT.search(line)
            ],
            seconds=watch.seconds,
            counters={
                "cpu seconds": cpu - cpu_before,
                "cpu seconds to ready": machine.cpu_to_ready,
                "emulated instructions to ready": machine.instructions_to_ready,
            },
            commands=[machine.bochs.process.argv, argv],
            by_hand=qemu_line(boot, "kvm", cpu_model),
        )


def _firmware() -> list[str]:
    """Where it lies in the appliance: a QEMU of the user's looks for it elsewhere."""
    return [word for folder in initramfs.FIRMWARE_FOLDERS for word in ("-L", folder)]


def _timed(observation: Observation, seconds: dict[str, float], begun: float) -> Observation:
    """With the phases before the boot, and the whole from `begun` to now."""
    return msgspec.structs.replace(observation, seconds={**seconds, **observation.seconds, "whole": time.monotonic() - begun})


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
