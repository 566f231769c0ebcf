"""Starting an appliance: booted, or restored from where a booted one was saved."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from emulators.bochs.com_port import Stream, com_port
from emulators.bochs.machine import BochsMachine, bochs_machine, bochsrc, restored_bochs, restored_lines
from emulators.bochs.program import BochsProgram
from emulators.bochs.saved_state import asks_for_a_file, started_with
from emulators.bochs.xvfb import Display
from emulators.host import limits
from emulators.host.disk import whole_cylinders
from emulators.host.errors import EmulatorError
from emulators.host.limits import in_time
from emulators.hosted import module_parameters
from emulators.hosted.appliance import tracing
from emulators.hosted.appliance.build import Appliance
from emulators.hosted.appliance.initramfs import stripped
from emulators.hosted.appliance.kernel_files import module_bytes
from emulators.hosted.appliance.machine import AGENT_PORT, DEBUG_PORT, GUEST_PORT, IPS, QMP_PORT, ApplianceMachine
from emulators.standalone import STOCK_ROMS, StandaloneBoot, standalone_bochs, unseen

# Haswell, not a newer one: kernels 7.x oops on skylake_x's XSAVE sizes, and its declared TSC rate makes guest time
# crawl.
MODEL = "corei7_haswell_4770"
# Start-up work that nothing here needs and that costs the emulated CPU seconds: checking and listing what can be
# traced, and reading the kernel's own type information. A kernel that has no function of such a name ignores it.
TRACING_CALL = "tracer_init_tracefs"  # what makes tracefs usable, and all that this takes
NOT_CALLED = (
    "ftrace_check_for_weak_functions",
    "trace_eval_init",
    TRACING_CALL,
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
    "console=ttyS3,115200 quiet loglevel=1 mitigations=off nokaslr cryptomgr.notests tsc=reliable "
    # Pages cleared for safety's sake and an initramfs freed page by page are not worth their instructions.
    "init_on_alloc=0 retain_initrd "
    # A tmpfs would take no more than half of what memory the initramfs leaves.
    "rootfstype=ramfs "
    # No security module looks at each ioctl of QEMU.
    "lsm= "
    # Without APERF/MPERF the scheduler does not read those MSRs, which Bochs does not have, at every tick.
    f"clearcpuid=124 initcall_blacklist={','.join(NOT_CALLED)}"
)
TRACED_COMMAND_LINE = COMMAND_LINE.replace(f"{TRACING_CALL},", "")
MOST_MIB = 2048  # Bochs 2.7 does not start with more
MARGIN_MIB = 40  # for Linux and QEMU, beside the guest's memory and what is handed in
LATER = "later"  # the file that has init.sh load KVM on request alone
FIRST_DISK, SECOND_DISK = "first.img", "second.img"


class Hosting(msgspec.Struct, frozen=True, kw_only=True):
    """What KVM runs in: an appliance, and the Bochs that boots it as a machine with this CPU model."""

    appliance: Appliance
    program: BochsProgram
    model: str
    traced: bool = False  # whether KVM's exits are recorded; see tracing.py
    parameters: tuple[str, ...] = ()  # of KVM's modules, with their full names

    @property
    def command_line(self) -> str:
        return " ".join([self.plain_command_line, *self.parameters])

    @property
    def plain_command_line(self) -> str:
        """Without the parameters of KVM's modules."""
        return TRACED_COMMAND_LINE if self.traced else COMMAND_LINE

    def kvm_files(self) -> dict[str, bytes]:
        """KVM's modules by their names under /cases, where they are not in the appliance. Raises EmulatorError."""
        return {
            f"{path.name.partition('.ko')[0]}.ko": stripped(module_bytes(path)) for path in self.appliance.kernel.kvm
        }


@contextlib.asynccontextmanager
async def booted(
    hosting: Hosting,
    images: Mapping[str, bytes],
    guest_mib: int,
    folder: Path,
    *,
    second_bytes: int = 0,
    display: Display | None = None,
    later: bool = False,
) -> AsyncIterator[ApplianceMachine]:
    """Boot an appliance with these images under /cases and enough memory for a guest of `guest_mib`, and wait until it
    is ready.

    The second disk has room for `second_bytes`, and so has memory. `display` is where Bochs has a window, by which
    alone it can be made to save its state. `later`: KVM is to be loaded later, by load_kvm of init.sh.
    """
    appliance = hosting.appliance
    images = {**images, **({LATER: b""} if later else hosting.kvm_files())}
    if hosting.traced:
        images = {**images, **tracing.handed_in(folder)}
    recorded = tracing.MEMORY_BYTES if hosting.traced else 0
    megabytes = _memory(appliance, images, guest_mib, second_bytes + recorded)
    second = folder / SECOND_DISK
    command_line = hosting.plain_command_line if later else hosting.command_line
    second.write_bytes(appliance.second_disk(images, command_line))
    os.truncate(second, max(second.stat().st_size, whole_cylinders(second_bytes)))
    async with _ports() as ports:
        config = [
            *_machine(hosting.model, megabytes),
            *_disks(str(appliance.disk), str(second), f"{folder}/"),
            *ports.lines,
        ]
        power_on = time.monotonic()
        async with (
            bochs_machine(hosting.program, config, folder, display=display, debugged=False) as bochs,
            ports.machine(bochs) as machine,
        ):
            await machine.wait_ready(power_on, word="waits" if later else "ready")
            if not later:
                await kvm_loaded(hosting, machine)
            yield machine


async def kvm_loaded(hosting: Hosting, machine: ApplianceMachine) -> None:
    """What is left to do once KVM is there. Raises EmulatorError, ChoiceError among them."""
    module_parameters.check(hosting.parameters, machine.ready_line)
    if hosting.traced:
        await tracing.set_up(machine)


@contextlib.asynccontextmanager
async def restored(
    hosting: Hosting, saved: Path, second: Path, folder: Path, display: Display | None = None
) -> AsyncIterator[ApplianceMachine]:
    """Let an appliance go on whose state was saved in `saved`. `second` is its second disk from now on, as large as the
    one that it was booted with. `display` is as for `booted`.
    """
    async with _ports() as ports:
        lines = [
            *restored_lines(hosting.program, folder, display),
            *_disks(str(hosting.appliance.disk), str(second), f"{folder}/"),
            *ports.lines,
        ]
        state = folder / "state"
        library = hosting.appliance.memory_library if asks_for_a_file(hosting.program.argv[-1]) else None
        environment = await asyncio.to_thread(started_with, saved, lines, library, state)
        async with (
            restored_bochs(hosting.program, state, folder, environment, display) as bochs,
            ports.machine(bochs) as machine,
        ):
            yield machine


def standalone_appliance(hosting: Hosting, files: Mapping[str, bytes], guest_mib: int, serial: str) -> StandaloneBoot:
    """The appliance as a Bochs of its own that does what the file `run` says (see init.sh); `serial` is the guest's
    port.

    Raises EmulatorError when it would need more memory than Bochs gives.
    """
    ports = {GUEST_PORT: serial, AGENT_PORT: "console.txt"}
    coms = [f"com{port}: enabled=1, mode=file, dev={name}" for port, name in ports.items()]
    files = {**files, **hosting.kvm_files()}
    appliance, memory = hosting.appliance, _memory(hosting.appliance, files, guest_mib)
    config = [*_machine(hosting.model, memory), *_disks(FIRST_DISK, SECOND_DISK, ""), *coms]
    disks = {FIRST_DISK: appliance.disk.read_bytes(), SECOND_DISK: appliance.second_disk(files, hosting.command_line)}
    lines = bochsrc(unseen("appliance.log"), config, *STOCK_ROMS, warns=False)
    return standalone_bochs(lines, serial, disks, "appliance.bochsrc")


def _memory(appliance: Appliance, images: Mapping[str, bytes], guest_mib: int, later_bytes: int = 0) -> int:
    """MiB for the appliance, a guest, and so many bytes that come in later. Raises EmulatorError when Bochs has not as
    much.
    """
    megabytes = ((appliance.least_memory(images) + later_bytes) >> 20) + MARGIN_MIB
    if megabytes > MOST_MIB:
        raise EmulatorError(
            f"the appliance would need {megabytes} MiB of memory, Bochs gives at most {MOST_MIB}",
            hint="run fewer or smaller images at a time",
        )
    # A big guest is let start where its RAM cannot all be there: most touch little of it, and one that does ends as a
    # crash.
    return min(megabytes + guest_mib, MOST_MIB)


def _machine(model: str, megabytes: int) -> list[str]:
    return [
        f"cpu: model={model}, count=1, ips={IPS}, reset_on_triple_fault=0, ignore_bad_msrs=1",
        "clock: sync=none, time0=1600000000",
        f"memory: guest={megabytes}, host={megabytes}",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        "boot: disk",
    ]


def _disks(first: str, second: str, folder: str) -> list[str]:
    """Both disks, which nothing is written to: they have no lock files, and a saved state does not contain them.
    `folder` is what goes before the names of what would be written.
    """
    return [
        f'ata0-{place}: type=disk, path="{path}", mode=volatile, journal="{folder}{place}", cylinders=0, heads=0, spt=0'
        for place, path in (("master", first), ("slave", second))
    ]


class _PortSockets:
    """The serial ports of a Bochs that is to be started: `lines` of configuration, and who connects."""

    def __init__(self, lines: list[str], waiting: Mapping[int, asyncio.Future[Stream]]) -> None:
        self.lines = lines
        self._waiting = waiting

    @contextlib.asynccontextmanager
    async def machine(self, bochs: BochsMachine) -> AsyncIterator[ApplianceMachine]:
        """The appliance in this Bochs, once it has connected. Raises EmulatorError when it does not."""

        def said() -> str:
            return bochs.console()[-1000:].decode(errors="replace")

        connecting, message = asyncio.gather(*self._waiting.values()), "Bochs does not start the appliance"
        connected = await in_time(connecting, limits.BOCHS_START, message, end=bochs.process.wait, evidence=said)
        streams = dict(zip(self._waiting, connected, strict=True))
        machine = ApplianceMachine(bochs, streams)
        listening = asyncio.ensure_future(machine.listen())
        try:
            yield machine
        finally:
            listening.cancel()
            for _, writer in streams.values():
                writer.close()


@contextlib.asynccontextmanager
async def _ports() -> AsyncIterator[_PortSockets]:
    async with contextlib.AsyncExitStack() as stack:
        numbers = (DEBUG_PORT, QMP_PORT, GUEST_PORT, AGENT_PORT)
        ports = {number: await stack.enter_async_context(com_port()) for number in numbers}
        lines = [port.line(number) for number, port in ports.items()]
        yield _PortSockets(lines, {number: port.connected for number, port in ports.items()})
