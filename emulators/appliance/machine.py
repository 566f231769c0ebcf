"""The appliance running: Linux inside Bochs, its agent, and the serial ports that QEMU in there is reached by."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import gzip
import re
import shlex
import socket
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from emulators.appliance.build import Appliance
from emulators.bochs_machine import BochsMachine, bochs_machine
from emulators.bochs_program import BochsProgram
from emulators.target import EmulatorError

# Haswell, not a newer one: kernels 7.x oops on skylake_x's XSAVE sizes, and its declared TSC rate makes guest time crawl.
MODEL = "corei7_haswell_4770"
# Emulated instructions per emulated second: high, so that few go to the timer ticks of the two kernels.
IPS = 100_000_000
# Start-up work that nothing here needs and that costs the emulated CPU seconds: checking and listing what can be traced, and
# reading the kernel's own type information. A kernel that has no function of such a name ignores it.
NOT_CALLED = (
    "ftrace_check_for_weak_functions",
    "trace_eval_init",
    "tracer_init_tracefs",
    "init_kprobe_trace",
    "init_uprobe_trace",
    "init_dynamic_event",
    "init_blk_tracer",
    "bpf_prog_test_run_init",
    "bpf_rstat_kfunc_init",
    "bpf_tcp_ca_kfunc_init",
    "kfunc_init",
    "cubictcp_register",
    "crypto_kdf108_init",
)
COMMAND_LINE = (
    "console=ttyS0,115200 quiet loglevel=1 mitigations=off nokaslr cryptomgr.notests tsc=reliable "
    # Pages cleared for safety's sake and an initramfs freed page by page are not worth their instructions.
    "init_on_alloc=0 retain_initrd "
    # Without APERF/MPERF the scheduler does not read those MSRs, which Bochs does not have, at every tick.
    f"clearcpuid=124 initcall_blacklist={','.join(NOT_CALLED)}"
)
LEAST_MIB, MOST_MIB = 768, 2048  # Bochs 2.7 does not start with more
CONNECT_SECONDS = 15.0
READY_SECONDS = 180.0
ANSWER_SECONDS = 120.0
# Ports of the appliance, by the Bochs COM port that carries them.
QMP_PORT, GUEST_PORT, AGENT_PORT = 2, 3, 4
QMP_DEVICE, GUEST_DEVICE = "/dev/ttyS1", "/dev/ttyS2"

T = TypeVar("T")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ApplianceMachine:
    """A booted appliance that takes requests. Made by `appliance_machine()`; broken ones are thrown away, never mended."""

    def __init__(self, bochs: BochsMachine, streams: Mapping[int, Stream], power_on: float) -> None:
        self.bochs = bochs
        self.guest = streams[GUEST_PORT][0]
        self.ready_line = ""
        self.seconds_to_ready = 0.0
        self.cpu_to_ready = 0.0
        self.instructions_to_ready = 0.0
        self._agent, self._to_agent = streams[AGENT_PORT]
        self._qmp, self._to_qmp = streams[QMP_PORT]
        self._power_on = power_on
        self._number = 0
        self._answers: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._sink: asyncio.StreamWriter | None = None
        self._relay: asyncio.Future[None] | None = None

    async def ask(self, command: str, seconds: float = ANSWER_SECONDS) -> tuple[int, bytes]:
        """Run a shell command in the appliance: exit code and output. Raises EmulatorError when no answer comes."""
        self._number += 1
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        self._to_agent.write(f"{self._number} {command}\n".encode())
        try:
            return await self._in_time(answer, seconds)
        except TimeoutError as error:
            raise EmulatorError(f"the appliance does not answer (asked: {command[:80]})", evidence=self.console()) from error

    async def fetch(self, path: str) -> bytes:
        """A file's content. Raises EmulatorError when there is none.

        It comes compressed: a byte on the serial port costs more than compressing a few.
        """
        code, data = await self.ask(f"busybox gzip -1 -c {path}")
        try:
            content = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            evidence = data[-500:].decode(errors="replace")
            raise EmulatorError(f"{path} cannot be read in the appliance", evidence=evidence) from error
        if code:
            raise EmulatorError(f"reading {path} in the appliance failed with exit code {code}")
        return content

    async def read_logs(self) -> tuple[bytes, bytes]:
        """What QEMU has said, and what the kernel has said since the last time. Raises EmulatorError."""
        _, said = await self.ask("busybox cat /tmp/qemu.log; echo; echo '==== kernel'; busybox dmesg -c")
        qemu, _, kernel = said.partition(b"\n==== kernel\n")
        return qemu, kernel

    async def start_qemu(self, argv: list[str], before: str) -> socket.socket:
        """Run QEMU in the background; the answer is the near end of its QMP port. `before` is shell run first.

        The agent's port tells on its own when QEMU is gone: see `gone()`.
        """
        self._gone = asyncio.get_running_loop().create_future()
        near, far = socket.socketpair()
        near.setblocking(False)
        reader, self._sink = await asyncio.open_connection(sock=far)
        self._relay = asyncio.ensure_future(self._to_qemu(reader))
        words = shlex.join(argv)
        await self.ask(f"{before}; {{ {words} </dev/null >/tmp/qemu.log 2>&1; echo gone $? >&3; }} &")
        return near

    async def gone(self) -> int:
        """Waits until QEMU has ended; its exit code."""
        return await asyncio.shield(self._gone)

    async def qemu_ended(self, seconds: float) -> None:
        """Wait until QEMU is gone. Raises EmulatorError when it does not go: the machine is broken."""
        try:
            await self._in_time(self._gone, seconds)
        except TimeoutError as error:
            raise EmulatorError("QEMU in the appliance does not end") from error
        finally:
            if self._relay is not None:
                self._relay.cancel()
            if self._sink is not None:
                self._sink.close()
            self._sink = None

    def console(self) -> str:
        """The end of Linux's console, where a panic would stand."""
        path = self.bochs.log.with_name("console.txt")
        return path.read_bytes()[-4000:].decode(errors="replace") if path.exists() else ""

    async def wait_ready(self) -> None:
        """Wait for the agent's first word. Raises EmulatorError with the console when Linux or KVM did not come up."""
        try:
            self.ready_line = await self._in_time(self._ready, READY_SECONDS)
        except TimeoutError as error:
            raise EmulatorError("Linux in the appliance did not come up", evidence=self.console()) from error
        self.seconds_to_ready = time.monotonic() - self._power_on
        self.cpu_to_ready = self.bochs.process.cpu_seconds()
        if not self.ready_line.startswith("ready "):
            raise EmulatorError(f"KVM in the appliance did not come up: {self.ready_line[:200]}", evidence=self.console())
        if match := re.search(r"uptime=(\d+\.\d+)", self.ready_line):
            # Emulated time is counted in instructions; the few before the kernel's clock started are missing.
            self.instructions_to_ready = float(match[1]) * IPS

    async def listen(self) -> None:
        """Take what comes on the agent's and QEMU's ports, until cancelled."""
        await asyncio.gather(self._from_agent(), self._from_qemu())

    async def _in_time(self, future: asyncio.Future[T], seconds: float) -> T:
        """The future's result. Raises TimeoutError after `seconds`, EmulatorError at once when Bochs ends."""
        ended = asyncio.ensure_future(self.bochs.process.wait())
        try:
            waiting: list[asyncio.Future[Any]] = [future, ended]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if ended.done():
                raise EmulatorError("Bochs ended under the appliance", evidence=self.console())
            raise TimeoutError
        finally:
            ended.cancel()

    async def _from_agent(self) -> None:
        while line := await self._agent.readline():
            words = line.decode("ascii", errors="replace").split()
            if words[:1] in (["ready"], ["fail"]) and not self._ready.done():
                self._ready.set_result(line.decode("ascii", errors="replace").strip())
            elif words[:1] == ["gone"] and not self._gone.done():
                self._gone.set_result(int(words[1]) if words[1:] and words[1].isdigit() else -1)
            elif (match := re.fullmatch(rb"(\d+) (\d+) ([\w+/=]*)\n", line)) and int(match[1]) in self._answers:
                with contextlib.suppress(binascii.Error):
                    self._answers.pop(int(match[1])).set_result((int(match[2]), base64.b64decode(match[3])))

    async def _from_qemu(self) -> None:
        while data := await self._qmp.read(65536):
            if self._sink is not None:
                self._sink.write(data)

    async def _to_qemu(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            self._to_qmp.write(data)


@contextlib.asynccontextmanager
async def appliance_machine(
    appliance: Appliance, program: BochsProgram, model: str, images: Mapping[str, bytes], guest_mib: int, folder: Path
) -> AsyncIterator[ApplianceMachine]:
    """Boot an appliance in this Bochs on this CPU model, with these images under /cases and enough memory for a guest of
    `guest_mib`, and wait until it is ready.
    """
    megabytes = max(LEAST_MIB, (appliance.least_memory(images) >> 20) + guest_mib + 192)
    if megabytes > MOST_MIB:
        raise EmulatorError(
            f"the appliance would need {megabytes} MiB of memory, Bochs gives at most {MOST_MIB}",
            hint="run fewer or smaller images at a time",
        )
    (folder / "second.img").write_bytes(appliance.second_disk(images, COMMAND_LINE))
    (folder / "first.img").symlink_to(appliance.disk)  # so that Bochs' lock file lies here and not in the cache
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[Stream]] = {}
    config = [
        f"cpu: model={model}, count=1, ips={IPS}, reset_on_triple_fault=0, ignore_bad_msrs=1",
        "clock: sync=none, time0=1600000000",
        f"memory: guest={megabytes}, host={megabytes}",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        *(
            f'ata0-{place}: type=disk, path="{folder / name}", mode=flat, cylinders=0, heads=0, spt=0'
            for place, name in (("master", "first.img"), ("slave", "second.img"))
        ),
        "boot: disk",
        f"com1: enabled=1, mode=file, dev={folder / 'console.txt'}",
    ]
    async with contextlib.AsyncExitStack() as stack:
        for port in (QMP_PORT, GUEST_PORT, AGENT_PORT):
            waiting[port] = loop.create_future()
            server = await asyncio.start_server(_taker(waiting[port]), "127.0.0.1", 0, limit=1 << 22)
            stack.callback(server.close)
            config.append(f"com{port}: enabled=1, mode=socket-client, dev=127.0.0.1:{server.sockets[0].getsockname()[1]}")
        power_on = time.monotonic()
        bochs = await stack.enter_async_context(bochs_machine(program, config, folder, visible=False))
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                streams = {port: await future for port, future in waiting.items()}
        except TimeoutError as error:
            evidence = bochs.console.read_text(errors="replace")[-1000:]
            raise EmulatorError("Bochs did not start the appliance", evidence=evidence) from error
        for _, writer in streams.values():
            stack.callback(writer.close)
        machine = ApplianceMachine(bochs, streams, power_on)
        listening = asyncio.ensure_future(machine.listen())
        stack.callback(listening.cancel)
        await machine.wait_ready()
        yield machine


def _taker(future: asyncio.Future[Stream]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """A connection handler that keeps the first connection."""

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not future.done():
            future.set_result((reader, writer))

    return take
