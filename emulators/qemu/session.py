"""Boots of the targets `kvm` and `tcg`, each in a QEMU of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from emulators.host import limits
from emulators.host.errors import EmulatorError, Progress
from emulators.host.files import read_log
from emulators.host.paths import neutral_argv, neutral_log
from emulators.host.process import Process, running
from emulators.host.scratch import scratch
from emulators.observation import Boot, Ending, Observation
from emulators.qemu.command_line import Ports, qemu_argv, qemu_line
from emulators.qemu.dump import Dump, dump, read_dump
from emulators.qemu.host_kvm import IGNORE_MSRS, ignores_msrs
from emulators.qemu.machine import IdleProbes, Qemu, kvm_failure
from emulators.qemu.order import cut, left_by_port
from emulators.qemu.screen import QemuScreen
from emulators.qemu.vcpus import CpuShare, asleep, guest_state, spare
from emulators.watch import End, GuestState, Watch, discarding, exit_port, shutdown_port

PORTS = ("qmp", "com1", "debug", "leave", "shutdown")  # sockets, by their names in Ports
LOOK = 2.0  # seconds of silence after which the screen is looked at, again and again
POLL = 0.3  # seconds of silence after which it is seen whether the CPUs have halted


class NativeSettings(NamedTuple):
    """What a session takes from its target."""

    target: str
    accelerator: str
    executable: str
    identity: dict[str, str]
    cpu_model: Callable[[Boot], str]


class NativeSession:
    """Boots images one after the other, each in a QEMU of its own."""

    def __init__(self, settings: NativeSettings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress

    async def boot(self, boot: Boot) -> Observation:
        self._progress(f"booting under QEMU {self._settings.accelerator}")
        with scratch("qemu") as folder:
            return await self._boot(boot, folder)

    async def _boot(self, boot: Boot, folder: Path) -> Observation:
        begun = time.monotonic()
        if boot.machine.ignore_msrs and self._settings.accelerator == "kvm" and not ignores_msrs():
            raise EmulatorError(
                "the case wants MSRs that the CPU lacks to be ignored, and this host's KVM does not",
                hint=f"echo 1 > {IGNORE_MSRS}, or --target kvm-hosted",
            )
        watch = Watch(boot)
        qemu = Qemu()
        cpu_model = self._settings.cpu_model(boot)
        argv = qemu_argv(
            boot,
            accelerator=self._settings.accelerator,
            cpu=cpu_model,
            image=str(boot.image.absolute()),
            second=str(boot.second.absolute()) if boot.second else "",
            ports=Ports(**{name: f"socket,path={folder / name}" for name in PORTS}, order=str(folder / "order")),
            executable=self._settings.executable,
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
            self._settings.target,
            {**self._settings.identity, "cpu model": cpu_model},
            end,
            **msgspec.structs.asdict(left),
            registers=registers,
            logs={"qemu.log": neutral_log(words)},
            seconds={"start": watch.started - begun, **watch.seconds, "whole": time.monotonic() - begun},
            counters={"cpu seconds": cpu},
            by_hand=qemu_line(boot, self._settings.accelerator, cpu_model),
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
