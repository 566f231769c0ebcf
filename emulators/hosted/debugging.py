"""A guest of hosted KVM that is stopped before its first instruction, with QEMU's gdb stub to go on with.

The stub speaks through the appliance's serial port that else carries port 0xE9, and a socket of this host.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from emulators.host import limits
from emulators.host.errors import ChoiceError, Progress
from emulators.host.scratch import scratch
from emulators.hosted.appliance import initramfs
from emulators.hosted.appliance.machine import PORTS, ApplianceMachine
from emulators.hosted.appliance.snapshot import DISK, Shape, resumed, snapshot
from emulators.hosted.target import KvmHosted
from emulators.observation import Boot
from emulators.qemu.command_line import qemu_argv
from emulators.qemu.machine import Qemu

STUB = "/dev/ttyS0"  # in the appliance; see machine.PORTS


@contextlib.asynccontextmanager
async def gdb_stub(target: KvmHosted, boot: Boot, progress: Progress) -> AsyncIterator[int]:
    """The port of 127.0.0.1 that a gdb can connect to while the context lasts. `target` is prepared.

    Raises EmulatorError, ChoiceError where KVM cannot be restored from a snapshot.
    """
    if not target.warm:
        raise ChoiceError("the debugger takes a warm start", hint="a hosting Bochs 3.0, xdotool and Xvfb: docs/warm.md")
    hosting = await asyncio.to_thread(target.hosting, progress)
    argv = qemu_argv(
        boot, executable=initramfs.QEMU, accelerator="kvm", cpu=target.cpu_model(boot), image=DISK, ports=PORTS
    )
    image = await asyncio.to_thread(boot.image.read_bytes)
    shape = Shape(argv=(*argv, *initramfs.firmware_options()), disk_bytes=len(image), guest_mib=boot.machine.memory_mib)
    async with contextlib.AsyncExitStack() as stack:
        saved = await stack.enter_async_context(snapshot(target.cache, hosting, shape, progress))
        folder = stack.enter_context(scratch("debug"))
        machine = await stack.enter_async_context(resumed(hosting, saved, image, folder))
        qemu = Qemu(limits.INNER_QEMU_ANSWER)
        stack.push_async_callback(qemu.disconnect)
        await qemu.resume(await machine.open_qmp())
        await qemu.monitor(f"gdbserver {STUB}")
        await qemu.execute("inject-nmi")  # for which the stand-in of the image waits
        yield await stack.enter_async_context(_relay(machine))


@contextlib.asynccontextmanager
async def _relay(machine: ApplianceMachine) -> AsyncIterator[int]:
    """A port of this host whose bytes go to the serial port, and the other way round."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_stub = asyncio.ensure_future(_copy(reader, machine.to_debug))
        from_stub = asyncio.ensure_future(_copy(machine.debug, writer))
        await asyncio.wait([to_stub, from_stub], return_when=asyncio.FIRST_COMPLETED)
        to_stub.cancel()
        from_stub.cancel()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
