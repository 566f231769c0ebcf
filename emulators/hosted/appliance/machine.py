"""The appliance running: Linux inside Bochs, its agent, and the serial ports that QEMU in there is reached by."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
import shlex
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from emulators.bochs.com_port import Stream
from emulators.bochs.machine import BochsMachine
from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.limits import AnswerTimeout, in_time
from emulators.hosted.appliance.initramfs import PACK
from emulators.hosted.appliance.packed import unpacked
from emulators.observation import Ending
from emulators.qemu.command_line import Ports
from emulators.watch import End, exited, shut_down

# Emulated instructions per emulated second: high, so that few go to the timer ticks of the two kernels.
IPS = 100_000_000
# What the Bochs COM ports carry. The agent shares its port with the kernel's console, which speaks when Linux dies.
DEBUG_PORT, QMP_PORT, GUEST_PORT, AGENT_PORT = 1, 2, 3, 4
CONSOLE_SECONDS = 1.0  # that a panic has to say why
TELL_UPTIME = "read -r uptime idle </proc/uptime; echo $uptime"  # of the shell alone: no program is started
UPTIME = "uptime"  # a file in DUMP
DUMP = "/tmp/dump"  # where QEMU writes what is looked at when a boot is over
QEMU_LOG, KERNEL_LOG = "qemu.log", "kernel.log"
EXIT_PIPE, SHUTDOWN_PIPE = "/tmp/exit", "/tmp/shutdown"
ORDER = "/tmp/order"
PORTS = Ports(
    qmp="serial,path=/dev/ttyS1",
    com1="serial,path=/dev/ttyS2",
    debug="serial,path=/dev/ttyS0",
    leave=f"pipe,path={EXIT_PIPE}",
    shutdown=f"pipe,path={SHUTDOWN_PIPE}",
    order=ORDER,
)
# Background shells that report the first byte on port 0xF4 and of the word on port 0x8900. They read on until it ends:
# one that writes to a full pipe does nothing else any more.
LISTEN = (
    f"busybox mkfifo {EXIT_PIPE} {SHUTDOWN_PIPE}; "
    f"{{ echo exit $(busybox od -An -tu1 -N1) >&3; while read -r -n 64 more; do :; done; }} <{EXIT_PIPE} & "
    f'while read -r -n 8 word; do [ "$word" != Shutdown ] || echo shutdown >&3; done <{SHUTDOWN_PIPE} &'
)

T = TypeVar("T")


class ApplianceMachine:
    """A booted appliance that takes requests. Made by `start.py`; broken ones are thrown away, never mended."""

    def __init__(self, bochs: BochsMachine, streams: Mapping[int, Stream]) -> None:
        self.bochs = bochs
        self.guest = streams[GUEST_PORT][0]
        self.debug, self.to_debug = streams[DEBUG_PORT]
        self.ready_line = ""
        self.seconds_to_ready = 0.0
        self.cpu_to_ready = 0.0
        self.instructions_to_ready = 0.0
        self.uptime = 0.0  # emulated seconds, when Linux in there was last asked
        self._agent, self._to_agent = streams[AGENT_PORT]
        self._qmp, self._to_qmp = streams[QMP_PORT]
        self._number = 0
        self._answers: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._shutdown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._said = ""  # what came on the agent's port and is no answer: the end of Linux's console
        self._sink: asyncio.StreamWriter | None = None
        self._relay: asyncio.Future[None] | None = None
        self._panicked: asyncio.Future[None] | None = None

    async def ask(self, command: str, seconds: float = limits.AGENT_ANSWER) -> tuple[int, bytes]:
        """Run a shell command in the appliance: exit code and output.

        Raises AnswerTimeout, and EmulatorError when Bochs ends.
        """
        self._number += 1
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        self._to_agent.write(f"{self._number} {command}\n".encode())
        return await self._in_time(answer, seconds, f"the appliance does not answer (asked: {command[:80]})")

    async def answers(self, seconds: float) -> bool:
        """Whether Linux in there still does anything."""
        try:
            await self.ask(":", seconds)
        except AnswerTimeout:
            return False
        return True

    async def fetch(self, path: str) -> bytes:
        """A file's content. Raises EmulatorError when there is none."""
        (content,) = (await self._packed(path, path)).values()
        return content

    async def checksum(self, path: str) -> bytes:
        """A file's checksum, for far less than its content. Raises EmulatorError when there is none."""
        code, said = await self.ask(f"busybox md5sum {path}")
        if code:
            raise EmulatorError(
                f"{path} cannot be read in the appliance", evidence=said[-500:].decode(errors="replace")
            )
        return said

    async def collect(self) -> dict[str, bytes]:
        """What lies in DUMP, by name, with QEMU's log and what the kernel has said since the last time; sets `uptime`.
        Raises EmulatorError.

        All of it in one answer: to start a program in there costs as much as a thousand bytes on the way.
        """
        files = await self._packed(f"-k {DUMP}/*", DUMP, f"{TELL_UPTIME} >{DUMP}/{UPTIME}; ")
        self.read_uptime(files.pop(UPTIME, b""))
        return files

    def read_uptime(self, said: bytes) -> None:
        """Take what TELL_UPTIME has said."""
        if match := re.fullmatch(rb"(\d{1,9}\.\d{1,9})\s*", said):
            self.uptime = float(match[1])

    async def fetch_all(self, folder: str) -> dict[str, bytes]:
        """What lies in a folder, by name. Raises EmulatorError."""
        return await self._packed(f"{folder}/*", folder)

    async def _packed(self, files: str, what: str, before: str = "") -> dict[str, bytes]:
        """What pack.c makes of these files; `before` is shell run first. Raises EmulatorError when it fails."""
        code, data = await self.ask(f"{before}{PACK} {files}", limits.COLLECT)
        if code:
            raise EmulatorError(
                f"{what} cannot be read in the appliance", evidence=data[-500:].decode(errors="replace")
            )
        return unpacked(data)

    def end(self) -> None:
        """Have Bochs end: nothing more is asked. It works at full speed while it waits, too."""
        self.bochs.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """End Bochs at once: it may not listen any more. What is being asked then fails."""
        await self.bochs.process.end(signal.SIGKILL)

    async def start_qemu(self, argv: list[str], before: str) -> socket.socket:
        """Run QEMU in the background; the answer is the near end of its QMP port. `before` is shell run first.

        The agent's port says on its own when QEMU is gone: see `gone()`.
        """
        loop = asyncio.get_running_loop()
        self._gone, self._exit_code, self._shutdown = loop.create_future(), loop.create_future(), loop.create_future()
        near = await self.open_qmp()
        fresh = f"busybox rm -rf {DUMP} {ORDER}; busybox mkdir {DUMP}"
        qemu = f"{{ {shlex.join(argv)} </dev/null >{DUMP}/{QEMU_LOG} 2>&1; echo gone $? >&3; }} &"
        await self.ask(f"{fresh}; {before}; {LISTEN} {qemu}")
        return near

    async def open_qmp(self) -> socket.socket:
        """The near end of QEMU's QMP port; the one that was opened before is closed."""
        self._close_qmp()
        near, far = socket.socketpair()
        near.setblocking(False)
        reader, self._sink = await asyncio.open_connection(sock=far)
        self._relay = asyncio.ensure_future(self._to_qemu(reader))
        return near

    async def gone(self) -> int:
        """Waits until QEMU has ended; its exit code."""
        return await asyncio.shield(self._gone)

    async def ended(self) -> End:
        """Waits until the Bochs that all this runs in has ended."""
        return Ending.CRASH, f"the Bochs under KVM ended with exit code {await self.bochs.process.wait()}"

    async def left(self) -> End:
        """Waits until the guest has left through port 0xF4."""
        return exited(await asyncio.shield(self._exit_code))

    async def shut_down(self) -> End:
        """Waits until the guest has written Shutdown to port 0x8900."""
        await asyncio.shield(self._shutdown)
        return shut_down()

    async def qemu_ended(self) -> None:
        """Wait until QEMU is gone. Raises EmulatorError when it does not go: the machine is broken."""
        try:
            await self._in_time(self._gone, limits.INNER_QEMU_LEAVE, "QEMU in the appliance does not end")
        finally:
            self._close_qmp()

    def _close_qmp(self) -> None:
        if self._relay is not None:
            self._relay.cancel()
        if self._sink is not None:
            self._sink.close()
        self._relay = self._sink = None

    def console(self) -> str:
        """The end of Linux's console, where a panic would be."""
        return self._said

    async def wait_ready(self, power_on: float, *, word: str = "ready") -> None:
        """Wait for the agent's first word, which is "waits" where KVM is still to be loaded. `power_on` is when Bochs
        was started, by `time.monotonic()`.

        Raises EmulatorError with the console when Linux or KVM did not come up.
        """
        coming_up = self._in_time(self._ready, limits.LINUX_START, "Linux in the appliance did not come up")
        self.ready_line = await coming_up
        self.seconds_to_ready = time.monotonic() - power_on
        self.cpu_to_ready = self.bochs.process.cpu_seconds()
        if not self.ready_line.startswith(f"{word} "):
            raise EmulatorError(
                f"KVM in the appliance did not come up: {self.ready_line[:200]}", evidence=self.console()
            )
        if match := re.search(r"uptime=(\d+\.\d+)", self.ready_line):
            # Emulated time is counted in instructions; the few before the kernel's clock started are missing.
            self.uptime = float(match[1])
            self.instructions_to_ready = self.uptime * IPS

    async def listen(self) -> None:
        """Take what comes on the agent's port, which is Linux's console, too, and on QEMU's; until cancelled."""
        await asyncio.gather(self._from_agent(), self._from_qemu())

    async def _in_time(self, future: asyncio.Future[T], seconds: float, message: str) -> T:
        """The future's result; see emulators.host.limits.in_time."""
        end = self.bochs.process.wait
        return await in_time(asyncio.shield(future), seconds, message, end=end, evidence=self.console)

    async def _from_agent(self) -> None:
        async for line in _lines(self._agent):
            words = line.decode("ascii", errors="replace").split()
            if words[:1] in (["ready"], ["fail"], ["waits"]) and not self._ready.done():
                self._ready.set_result(line.decode("ascii", errors="replace").strip())
            elif words[:1] == ["gone"] and not self._gone.done():
                self._gone.set_result(int(words[1]) if words[1:] and words[1].isdigit() else -1)
            elif words[:1] == ["exit"] and words[1:] and words[1].isdigit() and not self._exit_code.done():
                self._exit_code.set_result(int(words[1]))
            elif words == ["shutdown"] and not self._shutdown.done():
                self._shutdown.set_result(None)
            elif (match := re.fullmatch(rb"(\d+) (\d+) ([\w+/=]*)\n", line)) and int(match[1]) in self._answers:
                with contextlib.suppress(binascii.Error):
                    self._answers.pop(int(match[1])).set_result((int(match[2]), base64.b64decode(match[3])))
            else:
                self._said = (self._said + line.decode("ascii", errors="replace"))[-4000:]
                if b"Kernel panic" in line and not self._ready.done():  # what panics on its way up is not waited for
                    self._panicked = asyncio.ensure_future(self._panic())

    async def _panic(self) -> None:
        await asyncio.sleep(CONSOLE_SECONDS)  # its call trace follows
        if not self._ready.done():
            self._ready.set_exception(EmulatorError("Linux in the appliance panicked", evidence=self.console()))

    async def _from_qemu(self) -> None:
        async for line in _lines(self._qmp):  # nobody can do anything with less
            if self._sink is not None:
                self._sink.write(line)
        if self._sink is not None:  # no answer will come to who waits for one
            self._sink.close()

    async def _to_qemu(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            self._to_qmp.write(data)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What comes line by line, until Bochs is gone. A line that is longer than any of ours is left out."""
    while True:
        try:
            if not (line := await stream.readline()):
                return
        except ConnectionError:
            return
        except ValueError:
            continue
        yield line
