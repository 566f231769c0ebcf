"""One boot in an appliance: how it is watched, and all that is left of it when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from emulators.bochs.log import panics
from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.files import read_log
from emulators.host.limits import AnswerTimeout, in_time
from emulators.host.paths import neutral_argv, neutral_log
from emulators.hosted import module_parameters
from emulators.hosted.appliance import tracing
from emulators.hosted.appliance.machine import DUMP, IPS, KERNEL_LOG, ORDER, QEMU_LOG, ApplianceMachine
from emulators.hosted.exit_log import exit_log
from emulators.hosted.l0_log import l0_log
from emulators.observation import EXITS_LOG, L0_LOG, Boot, Ending, Limits
from emulators.qemu.dump import Dump, dump, read_dump
from emulators.qemu.machine import IdleProbes, Qemu, kvm_failure
from emulators.qemu.order import cut, left_by_port
from emulators.qemu.screen import QemuScreen
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
DEAF = (
    "Linux under its KVM does not answer either, so that nothing of the guest can be observed: as when it loops with "
    "interrupts off, which under Bochs lets no interrupt of the host through"
)
SETTLE = 0.1  # seconds that the tail of a boot gets; the guest also runs on while QEMU stops


class Remains(NamedTuple):
    """What is left of a boot when it is over: all of its observation but what its appliance took as a whole."""

    watch: Watch
    end: End
    broken: bool  # the appliance is of no further use
    parameters: dict[str, str]  # of the kernel's modules, as the target's identity has them
    dump: Dump
    registers: dict[str, str]
    logs: dict[str, bytes]
    panics: list[str]  # of the Bochs under KVM
    counters: dict[str, float]
    commands: list[list[str]]


async def observe(
    machine: ApplianceMachine,
    boot: Boot,
    argv: list[str],
    qemu: Qemu,
    start: Callable[[], Awaitable[None]],
    *,
    traced: bool,
    alone: bool,
) -> Remains:
    """Boot in a QEMU that `start` brings to where it is stopped, before the image. `traced` is whether
    KVM's exits are recorded, `alone` whether it is the only boot of this appliance, which need not run on once all is
    fetched.
    """
    broken = False
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
                    broken = True
                watch.mark("dumped")
            if broken and not await machine.answers(limits.DEAF):
                end = end[0], f"{end[1]}; {DEAF}"
                kernel_log = machine.console().encode()
                await machine.kill()
            else:
                if left_by_port(end):
                    cut(watch, await machine.fetch(ORDER), end)
                files = await machine.collect()
                if traced:
                    exits = await tracing.traced(machine)
                if alone:
                    machine.end()
                log, kernel_log = files[QEMU_LOG], files[KERNEL_LOG]
                left = await read_dump(files)
                watch.mark("fetched")
    except EmulatorError as error:
        if end is None or end[0] != Ending.CRASH:
            end = Ending.CRASH, f"{error} {error.evidence[-300:]}".strip()
        broken = True
        log = log or error.evidence.encode()
        kernel_log = kernel_log or machine.console().encode()
    kernel_log = neutral_log(kernel_log)  # a BUG names the file that the kernel was built from
    cpu = machine.bochs.process.cpu_seconds()
    if failure := kvm_failure(log):
        end = Ending.INTERNAL_ERROR, failure
    return Remains(
        watch=watch,
        end=end,
        broken=broken,
        parameters=module_parameters.identity(machine.ready_line),
        dump=left,
        registers=registers,
        logs={
            QEMU_LOG: log,
            KERNEL_LOG: kernel_log,
            **({EXITS_LOG: exit_log(exits), L0_LOG: l0_log(exits)} if exits else {}),
        },
        panics=panics(read_log(machine.bochs.log, log_from)),
        counters={
            "cpu seconds": cpu - cpu_before,
            "cpu seconds to ready": machine.cpu_to_ready,
            "emulated instructions to ready": machine.instructions_to_ready,
            "emulated instructions": (machine.uptime - uptime_before) * IPS,
        },
        commands=[neutral_argv(machine.bochs.process.argv), argv],
    )
