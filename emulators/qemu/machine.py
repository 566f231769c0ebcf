"""Driving one QEMU over QMP and its serial port. The same code serves QEMU here and QEMU inside the hosted appliance:
what differs, where its screen's files lie and how the ports get here, is the caller's screen, streams and socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import re
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import ModuleType
from typing import Any, NamedTuple, cast

from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.limits import AnswerTimeout, in_time
from emulators.observation import Boot, Ending
from emulators.qemu.vcpus import ThreadEnd
from emulators.text_screen import Screen
from emulators.watch import SETTLE, End, GuestState, Watch, first, never

WAKES = 2.0  # seconds in which a nested guest in HLT with interrupts off is woken, if ever
WORD = 1.0  # seconds that a QEMU that has ended gets to be seen as such
FIRST_WORDS = 4  # times as long as later a guest may be silent at first: it is being loaded
RESET_PORTS = {0x64, 0x92, 0xCF9}  # keyboard controller, fast reset, PCI reset control
KVM_FAILED = re.compile(rb"^.*(?:KVM internal error|kvm run failed|KVM: entry failed).*$", re.MULTILINE)


class IdleProbes(NamedTuple):
    """How a guest that says nothing is looked at, and after how many seconds of silence."""

    screen: Screen
    screen_seconds: float
    asleep: Callable[
        [Sequence[int]], Awaitable[bool]
    ]  # of threads on QEMU's machine, by their numbers: see emulators.qemu.vcpus
    asleep_seconds: float  # once it has spoken
    state: Callable[[Sequence[int]], Awaitable[GuestState]]  # of the guest that these threads run
    settle: float = SETTLE  # seconds that the tail of a boot gets


class Qemu:
    """A QEMU that waits at -S or runs, spoken to over QMP. Close with `disconnect()`."""

    def __init__(self, seconds: float = limits.QEMU_ANSWER) -> None:
        """`seconds` is how long one command may take."""
        self._seconds = seconds
        self._client = _qmp().QMPClient("difftest")
        self._waits_for_nmi = False
        self._halted_with = ""  # what it said of its registers when it was found halted for good

    async def connect(self, connection: socket.socket, seconds: float) -> None:
        """Shake hands on a connected socket. Raises EmulatorError when QEMU does not greet in time."""
        try:
            await in_time(self._client.connect(connection), seconds, "QEMU does not greet")
        except (_qmp().QMPError, AnswerTimeout, OSError, EOFError) as error:
            raise EmulatorError("QEMU does not answer on its QMP socket", evidence=str(error)) from error

    async def resume(self, connection: socket.socket) -> None:
        """Take over, on a connected socket, a stopped QEMU that another has shaken hands with, and whose guest an NMI
        wakes.

        Raises EmulatorError when it does not answer.
        """
        self._client.await_greeting = self._client.negotiate = False
        self._waits_for_nmi = True
        await self.connect(connection, self._seconds)

    async def disconnect(self) -> None:
        try:
            await in_time(self._client.disconnect(), limits.QEMU_LEAVE, "QEMU's QMP socket does not close")
        except (_qmp().QMPError, AnswerTimeout, OSError, EOFError):
            pass  # it is gone already, and its end is reported elsewhere

    async def execute(self, command: str, **arguments: object) -> object:
        """One QMP command. Raises AnswerTimeout, and EmulatorError with QEMU's words."""
        try:
            asking = self._client.execute(command, arguments or None)
            return await in_time(asking, self._seconds, f"QEMU does not answer {command}")
        except (_qmp().QMPError, OSError, EOFError) as error:
            raise EmulatorError(f"QMP {command} failed: {error}") from error

    async def monitor(self, line: str) -> str:
        """One human monitor command's output."""
        return cast(str, await self.execute("human-monitor-command", **{"command-line": line}))

    async def quit(self) -> None:
        """Ask QEMU to leave; one that has left is fine."""
        try:
            await self.execute("quit")
        except EmulatorError:
            pass

    async def run(
        self,
        boot: Boot,
        watch: Watch,
        com1: asyncio.StreamReader,
        debug: asyncio.StreamReader,
        *others: Coroutine[Any, Any, End],
        looks: IdleProbes,
    ) -> End:
        """Let the guest run until it is over. `others` report what ends it besides its words and QEMU's events."""
        with self._client.listener(("SHUTDOWN", "STOP", "GUEST_PANICKED")) as events:
            # Sent together: where QEMU's machine is an emulated one, it is the waiting for answers that costs. A guest
            # may keep that machine from answering as soon as it runs.
            words = ["cont", *(["inject-nmi"] if self._waits_for_nmi else [])]
            going = [asyncio.ensure_future(self.execute(word)) for word in words]
            await asyncio.sleep(0)
            watch.go()

            async def goes() -> End:
                with contextlib.suppress(AnswerTimeout):
                    await asyncio.gather(*going)
                return await never()

            async def reported() -> End:
                with contextlib.suppress(AnswerTimeout):
                    async for event in events:
                        data = cast(dict[str, object], event.get("data", {}))
                        if end := await self._meaning(str(event["event"]), data):
                            return end
                return await never()

            async def halts() -> End:
                try:
                    return await halted()
                except AnswerTimeout:  # one that cannot be looked at ends by the deadlines
                    return await never()
                except ThreadEnd as gone:
                    await asyncio.sleep(WORD)
                    return Ending.CRASH, str(gone)

            async def state() -> GuestState:
                return await looks.state(await self._threads())

            async def halted() -> End:
                threads: list[int] = []
                often = pause = looks.asleep_seconds
                slept_from = 0.0
                while True:
                    await asyncio.sleep(pause)
                    least = often if watch.spoken() else often * FIRST_WORDS
                    if (left := least - watch.silent_for()) > 0:
                        pause = min(max(left, often / 4), often)
                        continue
                    threads = threads or await self._threads()
                    if not await looks.asleep(threads):
                        slept_from = 0.0
                    elif boot.end and time.monotonic() - (slept_from := slept_from or time.monotonic()) < WAKES:
                        pause = often
                        continue
                    elif await self.halted():
                        return Ending.HALTED, "HLT with interrupts off"
                    # One that computes in silence is looked at less and less.
                    pause = min(2 * max(pause, often), max(often, min(16 * often, boot.limits.quiet / 4)))

            ports = ((watch.serial, com1), (watch.debug, debug))
            readers = [port.reader(stream) for port, stream in ports]
            patience = watch.looks(looks.screen, looks.screen_seconds), watch.progress(state), watch.deadlines()
            end = await first(*readers, reported(), *others, goes(), halts(), *patience)
            ends = await asyncio.gather(*(port.drain(stream, end, looks.settle) for port, stream in ports))
            end = next((better for better in ends if better != end), end)
        watch.mark("ended")
        return end

    async def registers(self) -> dict[str, str]:
        """General and control registers by lower-case name, of the first CPU."""
        text = self._halted_with.partition("\nCPU#1")[0] or await self.monitor("info registers")
        found = re.findall(r"\b(R\w\w|R\d+|E\w\w|CR[0234]|EFER) ?=([0-9a-fA-F]+)", text)
        names = {"EFL": "RFLAGS", "RFL": "RFLAGS"}
        widened = re.compile(r"E(?=[ABCD]X|[SD]I|[SB]P|IP)")
        return {widened.sub("R", names.get(name, name)).lower(): f"{int(value, 16):#x}" for name, value in found}

    async def _meaning(self, event: str, data: dict[str, object]) -> End | None:
        """What a QMP event says of the guest's end; None when it says nothing."""
        if event == "GUEST_PANICKED":
            return Ending.PANIC, "the guest reported a panic"
        if event == "STOP":
            if await self.gave_up():
                return Ending.INTERNAL_ERROR, "QEMU stopped the guest: KVM internal error"
            return None
        reason = str(data.get("reason", ""))
        if reason == "guest-reset":
            if await self._reset_by_port():
                return Ending.RESET, "the guest reset the machine"
            return Ending.TRIPLE_FAULT, "the CPU entered shutdown"
        if reason == "guest-panic":
            return Ending.PANIC, "the guest reported a panic"
        return Ending.POWER_OFF, f"the guest switched the machine off ({reason})"

    async def _reset_by_port(self) -> bool:
        """QMP calls a triple fault a guest reset too. A real one has just written to a reset port: the instruction
        before RIP is an OUT to one.
        """
        text = await self.monitor("x /2xb $pc-2")
        before = [int(value, 16) for value in re.findall(r"\b0x([0-9a-f]{2})\b", text)]
        if len(before) != 2:
            return False
        if before[1] in (0xEE, 0xEF):  # OUT DX, AL / OUT DX, EAX
            port = int((await self.registers()).get("rdx", "0"), 16) & 0xFFFF
            return port in RESET_PORTS
        return before[0] in (0xE6, 0xE7) and before[1] in RESET_PORTS  # OUT imm8

    async def gave_up(self) -> bool:
        """Whether QEMU has stopped the guest because KVM gave up on it."""
        return cast(dict[str, object], await self.execute("query-status"))["status"] == "internal-error"

    async def halted(self) -> bool:
        """Whether every CPU is in HLT with interrupts off (a CPU that never started counts: its EFLAGS.IF is clear).

        Not to be asked while one of them may be running: see emulators.qemu.vcpus.
        """
        text = await self.monitor("info registers -a")
        flags = re.findall(r"\b[RE]FL=([0-9a-f]+)", text)
        halts = re.findall(r"\bHLT=(\d)", text)
        over = bool(flags) and set(halts) == {"1"} and not any(int(flag, 16) & 0x200 for flag in flags)
        self._halted_with = text if over else ""
        return over

    async def _threads(self) -> list[int]:
        """The numbers of the threads that are the guest's CPUs."""
        cpus = cast(list[dict[str, object]], await self.execute("query-cpus-fast"))
        return [cast(int, cpu["thread-id"]) for cpu in cpus]


@functools.cache
def _qmp() -> ModuleType:
    """The package that speaks QMP: loaded when an emulator is there to speak to, not before one is started."""
    return importlib.import_module("qemu.qmp")


def kvm_failure(log: bytes) -> str | None:
    """QEMU's own words when KVM gave up on the vCPU, if it did."""
    match = KVM_FAILED.search(log)
    return match.group().decode(errors="replace") if match else None
