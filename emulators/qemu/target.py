"""Targets `kvm` and `tcg`: QEMU on this host, with KVM or with its own translator."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from emulators.host import limits
from emulators.host.errors import EmulatorError, Progress
from emulators.host.files import read_log
from emulators.host.paths import neutral_argv, neutral_log
from emulators.host.process import Process, running
from emulators.host.scratch import scratch
from emulators.observation import Boot, Ending, Machine, Observation
from emulators.qemu.cpu_models import check_cpu_model
from emulators.qemu.dump import Dump, dump, read_dump
from emulators.qemu.machine import IdleProbes, Ports, Qemu, kvm_failure, qemu_argv, qemu_line, stock_argv
from emulators.qemu.order import cut, left_by_port
from emulators.qemu.program import qemu_program
from emulators.qemu.screen import QemuScreen
from emulators.qemu.vcpus import CpuShare, asleep, guest_state, spare
from emulators.standalone import StandaloneBoot, standalone_qemu
from emulators.target import NESTED, OTHER_CPU, Requirement, Session, Target, other_cpu
from emulators.watch import End, GuestState, Watch, discarding, exit_port, shutdown_port

OTHER_MODEL = "Haswell"
PORTS = ("qmp", "com1", "debug", "leave", "shutdown")  # sockets, by their names in Ports
IGNORE_MSRS = Path("/sys/module/kvm/parameters/ignore_msrs")
LOOK = 2.0  # seconds of silence after which the screen is looked at, again and again
POLL = 0.3  # seconds of silence after which it is seen whether the CPUs have halted


class NativeQemu(Target):
    """What both targets share."""

    accelerator: str
    model: str

    def __init__(self, qemu: str | None = None) -> None:
        """`qemu` is the path of a QEMU; None is the distribution's. Raises EmulatorError when it is none."""
        self.program = qemu_program(qemu)

    def requirements(self) -> list[Requirement]:
        return [self.program.requirement()]

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        serial = f"{self.name}.serial"
        argv = [*stock_argv(boot, self.accelerator, self.cpu_model(boot)), "-display", "none", "-no-reboot"]
        return standalone_qemu([*argv, "-serial", f"file:{serial}"], serial, self.hand_needs(needs))

    def hand_needs(self, needs: Sequence[str]) -> list[tuple[str, str]]:
        return []

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, self.model)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return {OTHER_CPU: other_cpu(machine, self.name, OTHER_MODEL)}

    def check(self, machine: Machine) -> None:
        if model := machine.cpu_models.get(self.name):
            check_cpu_model(self.program, model)

    def identity(self) -> dict[str, str]:
        return {**self.program.identity(), "accelerator": self.accelerator, "cpu model": self.model}

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        yield NativeSession(self, progress)


class Tcg(NativeQemu):
    """QEMU's translator: no VMX, a third opinion on cases that need none."""

    name = "tcg"
    implementation = "TCG"
    accelerator = "tcg"
    model = "max"


class Kvm(NativeQemu):
    """KVM of the kernel that runs here. Nested VMX only when kvm_intel says so."""

    name = "kvm"
    implementation = "KVM"
    accelerator = "kvm"
    model = "host"

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED if nested_vmx() else frozenset()

    def requirements(self) -> list[Requirement]:
        return [
            *super().requirements(),
            Requirement(
                "/dev/kvm",
                os.access("/dev/kvm", os.R_OK | os.W_OK),
                kvm_device(),
                "load kvm_intel or kvm_amd; join group kvm",
            ),
            Requirement(
                "virtualization hardware",
                bool(cpu_flags() & {"vmx", "svm"}),
                "vmx or svm in /proc/cpuinfo",
                "a /dev/kvm without VMX or SVM under it is no KVM to test: use --target kvm-hosted",
            ),
        ]

    def hand_needs(self, needs: Sequence[str]) -> list[tuple[str, str]]:
        return kvm_conditions(needs)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return kvm_variants(machine, self.name, self.model)

    def identity(self) -> dict[str, str]:
        return {
            **super().identity(),
            "kernel": os.uname().release,
            "kernel arch": os.uname().machine,
            "host cpu": host_cpu(),
        }


class NativeSession:
    """Boots images one after the other, each in a QEMU of its own."""

    def __init__(self, target: NativeQemu, progress: Progress) -> None:
        self._target = target
        self._progress = progress

    async def boot(self, boot: Boot) -> Observation:
        self._progress(f"booting under QEMU {self._target.accelerator}")
        with scratch("qemu") as folder:
            return await self._boot(boot, folder)

    async def _boot(self, boot: Boot, folder: Path) -> Observation:
        begun = time.monotonic()
        if boot.machine.ignore_msrs and self._target.accelerator == "kvm" and not _ignores_msrs():
            raise EmulatorError(
                "the case wants MSRs that the CPU lacks to be ignored, and this host's KVM does not",
                hint=f"echo 1 > {IGNORE_MSRS}, or --target kvm-hosted",
            )
        watch = Watch(boot)
        qemu = Qemu()
        cpu_model = self._target.cpu_model(boot)
        argv = qemu_argv(
            boot,
            accelerator=self._target.accelerator,
            cpu=cpu_model,
            image=str(boot.image.absolute()),
            second=str(boot.second.absolute()) if boot.second else "",
            ports=Ports(**{name: f"socket,path={folder / name}" for name in PORTS}, order=str(folder / "order")),
            executable=self._target.program.executable,
        )
        left = Dump()
        registers: dict[str, str] = {}
        log = folder / "qemu.log"

        async def fetch(path: str) -> bytes:
            return await asyncio.to_thread(Path(path).read_bytes)

        share = CpuShare()

        async def state(threads: Sequence[int]) -> GuestState:
            return await asyncio.to_thread(guest_state, share, threads, boot.machine.memory_mib << 20)

        async with contextlib.AsyncExitStack() as stack:
            # Both sockets are bound before QEMU starts: no byte is lost, nothing is retried.
            listeners = [_listen(folder / name) for name in PORTS]
            for listener in listeners:
                stack.callback(listener.close)
            output = stack.enter_context(log.open("wb"))
            process = await stack.enter_async_context(
                running(argv, output=output, cwd=folder, end_with=[signal.SIGTERM], env={"TMPDIR": str(folder)})
            )
            try:
                control, *ports = await _accept_all(listeners, process)
                await qemu.connect(control, limits.QEMU_START)
                stack.push_async_callback(qemu.disconnect)
                streams = []
                for port in ports:
                    stream, writer = await asyncio.open_unix_connection(sock=port)
                    stack.callback(writer.close)
                    streams.append(stream)
                com1, debug, leave, shutdown = streams
                others = _died(process), exit_port(leave), shutdown_port(shutdown)
                still = functools.partial(asleep, spare=spare(boot.machine.qemu_options))
                looks = IdleProbes(QemuScreen(qemu, str(folder), fetch), LOOK, still, POLL, state)
                end = await qemu.run(boot, watch, com1, debug, *others, looks=looks)
                if process.returncode is None:
                    dumped = folder / "dump"
                    dumped.mkdir()
                    async with discarding(*streams):
                        registers = await dump(qemu, str(dumped), boot.ram_log)
                    if left_by_port(end):
                        cut(watch, (folder / "order").read_bytes(), end)
                    left = await read_dump({path.name: path.read_bytes() for path in dumped.iterdir()})
            except EmulatorError as error:
                end = Ending.CRASH, f"{error} {error.evidence}".strip()
            cpu = process.cpu_seconds()
            await qemu.quit()
        words = read_log(log)
        if failure := kvm_failure(words):
            end = Ending.INTERNAL_ERROR, failure
        return await watch.observation(
            self._target.name,
            {**self._target.identity(), "cpu model": cpu_model},
            end,
            **msgspec.structs.asdict(left),
            registers=registers,
            logs={"qemu.log": neutral_log(words)},
            seconds={"start": watch.started - begun, **watch.seconds, "whole": time.monotonic() - begun},
            counters={"cpu seconds": cpu},
            by_hand=qemu_line(boot, self._target.accelerator, cpu_model),
            commands=[neutral_argv(argv)],
        )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    listener.setblocking(False)
    return listener


async def _accept_all(listeners: Sequence[socket.socket], process: Process) -> list[socket.socket]:
    """Wait for QEMU to connect to each. Raises EmulatorError when it ends or takes too long instead."""
    loop = asyncio.get_running_loop()
    accepting = asyncio.gather(*(loop.sock_accept(listener) for listener in listeners))
    ending = asyncio.ensure_future(process.wait())
    waiting: list[asyncio.Future[Any]] = [accepting, ending]
    try:
        await asyncio.wait(waiting, timeout=limits.QEMU_START, return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            return [connection for connection, _ in accepting.result()]
        what = "does not connect to its sockets" if not ending.done() else f"ended with exit code {ending.result()}"
        raise EmulatorError(f"QEMU {what}", hint="see qemu.log in the observation")
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _died(process: Process) -> End:
    code = await process.wait()
    return Ending.CRASH, f"QEMU ended with exit code {code}"


def kvm_conditions(needs: Sequence[str]) -> list[tuple[str, str]]:
    """What KVM by hand takes of a host: shell conditions, with the words to say where they do not hold."""
    device = ("test -w /dev/kvm", "KVM: /dev/kvm, and permission to write to it")
    nested = (
        "grep -q '^[Y1]' /sys/module/kvm_intel/parameters/nested",
        "an Intel CPU, and kvm_intel loaded with nested=1 (a bundle made with --carry needs neither)",
    )
    return [device, nested] if NESTED & set(needs) else [device]


def kvm_variants(machine: Machine, target: str, model: str) -> dict[str, Machine]:
    """What a KVM maintainer asks first: does it need this CPU model, does it need KVM's own interrupt controllers."""
    # Without them QEMU 7.2 aborts when it resets the MSR of a paravirtual feature that the kernel then refuses.
    plain = other_cpu(machine, target, f"{machine.cpu_models.get(target, model)},kvm-asyncpf-int=off")
    return {
        OTHER_CPU: other_cpu(machine, target, f"{OTHER_MODEL},vmx=on"),
        "kernel_irqchip=off": msgspec.structs.replace(plain, qemu_options="kernel_irqchip=off"),
    }


def cpu_flags() -> frozenset[str]:
    match = re.search(r"^flags\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return frozenset(match.group(1).split() if match else ())


def host_cpu() -> str:
    match = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return match.group(1) if match else "unknown"


def nested_vmx() -> bool:
    """Whether KVM here gives its guests VMX: Intel hardware, and kvm_intel loaded with nested=Y."""
    parameter = Path("/sys/module/kvm_intel/parameters/nested")
    with contextlib.suppress(OSError):
        return "vmx" in cpu_flags() and parameter.read_text().strip() in ("Y", "1")
    return False


def _ignores_msrs() -> bool:
    with contextlib.suppress(OSError):
        return IGNORE_MSRS.read_text().strip() in ("Y", "1")
    return False


def kvm_device() -> str:
    if not Path("/dev/kvm").exists():
        return "there is none"
    modules = sorted(path.name for path in Path("/sys/module").glob("kvm*"))
    return f"modules: {', '.join(modules)}"


def _cpuinfo() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""
