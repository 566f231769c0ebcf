"""KVM's tracepoints in the appliance: switched on before the first guest starts, recording while the image runs.

The trace stays in the kernel's ring buffer while the guest runs, and is taken out of it, as it lies there, when it has
been stopped: nothing of this writes, prints or waits meanwhile. Where the buffer is full the later events are lost.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from emulators.host.errors import EmulatorError
from emulators.hosted.appliance.assembler import compiled
from emulators.hosted.exit_log import EVENTS, FORMAT, FURTHER_EVENTS, PAGES, PROBLEM, STATS

if TYPE_CHECKING:
    from emulators.hosted.appliance.machine import ApplianceMachine

BUFFER_MIB = 8  # some 100 thousand events; the checks of a case make some 20 thousand
MEMORY_BYTES = BUFFER_MIB * 6 << 20  # of the appliance: the buffer, its copy, and room for packing that
DRAIN_SOURCE = Path(__file__).with_name("drain.c")
DRAIN = "drain"  # among the files that are handed in
TRACEFS, PROGRAM, FOLDER = "/sys/kernel/tracing", "/bin/drain", "/tmp/exits"

# The clock only counts: that is cheapest, and packs best. Of each event the number and the places of its fields are
# kept, and of exits how KVM spells their reasons.
SET_UP = (
    f"busybox mkdir -p {FOLDER}; busybox cp /cases/{DRAIN} {PROGRAM}; busybox chmod 755 {PROGRAM}; "
    f"busybox mount -t tracefs none {TRACEFS}; echo 0 >{TRACEFS}/tracing_on; echo counter >{TRACEFS}/trace_clock; "
    f"echo 0 >{TRACEFS}/options/overwrite; echo {BUFFER_MIB << 10} >{TRACEFS}/buffer_size_kb; "
    f"for event in {' '.join(EVENTS)}; do echo 1 >{TRACEFS}/events/kvm/$event/enable; "
    f"busybox cat {TRACEFS}/events/kvm/$event/format >{FOLDER}/$event{FORMAT} || "
    f"echo this kernel cannot trace $event >{FOLDER}/{PROBLEM}; done; "
    f"for event in {' '.join(FURTHER_EVENTS)}; do [ ! -e {TRACEFS}/events/kvm/$event ] || "
    f"{{ echo 1 >{TRACEFS}/events/kvm/$event/enable; "
    f"busybox cat {TRACEFS}/events/kvm/$event/format >{FOLDER}/$event{FORMAT}; }}; done"
)
BEGIN = f"echo >{TRACEFS}/trace; echo 1 >{TRACEFS}/tracing_on"
_CPU = f"{TRACEFS}/per_cpu/cpu0"
END = (
    f"echo 0 >{TRACEFS}/tracing_on; busybox cat {_CPU}/stats >{FOLDER}/{STATS}; "
    f"{PROGRAM} {_CPU}/trace_pipe_raw {FOLDER}/{PAGES}"
)


def handed_in(folder: Path) -> dict[str, bytes]:
    """What the appliance needs beside its own files; `folder` takes what comes between. Raises EmulatorError."""
    return {DRAIN: compiled(DRAIN_SOURCE, folder)}


async def set_up(machine: ApplianceMachine) -> None:
    """Make ready to record. A kernel that cannot is found out when the trace is collected. Raises EmulatorError."""
    await machine.ask(SET_UP)


async def traced(machine: ApplianceMachine) -> dict[str, bytes]:
    """End recording; tracefs' files by name. A trace that does not come is a problem of its own, none of the boot."""
    try:
        await machine.ask(END)
        return await machine.fetch_all(FOLDER)
    except EmulatorError as error:
        return {PROBLEM: f"{error} {error.evidence[-100:]}".encode()}


def identity() -> list[str]:
    """What a snapshot in which this was set up depends on."""
    return [shlex.join([SET_UP, BEGIN, END]), str(MEMORY_BYTES), DRAIN_SOURCE.read_text()]
