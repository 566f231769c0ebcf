"""Keeping the saved state of an appliance: what a restore needs of it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import msgspec

from emulators.bochs import saved_state
from emulators.host.errors import EmulatorError
from emulators.host.files import private_copy
from emulators.host.tools import ran
from emulators.hosted.appliance.machine import ApplianceMachine
from emulators.hosted.appliance.start import Hosting

SAVED = "saved"  # a folder in that of the Bochs, where the one that it was restored from may be called state
FACTS = "facts.json"


async def save_and_keep(hosting: Hosting, machine: ApplianceMachine, target: Path, facts: msgspec.Struct) -> None:
    """Save a running appliance, which cannot run on after this, and put what a restore needs of it into the cache.

    Raises EmulatorError, also when there is no room.
    """
    saved = machine.bochs.log.parent / SAVED
    saved.mkdir()
    await saved_state.save(machine.bochs, SAVED)
    await asyncio.to_thread(_keep, hosting, saved, target, facts)


def _keep(hosting: Hosting, state: Path, target: Path, facts: msgspec.Struct) -> None:
    memory = (state / saved_state.MEMORY).read_text()
    # Linux keeps the initramfs that it has unpacked: it is not looked at again, and 100 MB to carry about.
    start, size = hosting.appliance.layout.initramfs, hosting.appliance.layout.initramfs_bytes
    (state / saved_state.MEMORY).write_text(saved_state.without_blocks(memory, start, size))
    hole = ["fallocate", "--punch-hole", "--offset", str(start), "--length", str(size), str(state / saved_state.RAM)]
    with contextlib.suppress(EmulatorError):  # it only saves room
        ran(hole)
    try:
        for path in state.iterdir():
            private_copy(path, target / path.name) if path.name == saved_state.RAM else shutil.copy(path, target)
        (target / FACTS).write_bytes(msgspec.json.encode(facts))
    except OSError as error:
        raise EmulatorError(
            f"cannot keep a snapshot: {error.strerror}", hint=f"is there room in {target.parent}?"
        ) from error
