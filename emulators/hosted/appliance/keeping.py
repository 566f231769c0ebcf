"""Keeping the saved state of an appliance: what a restore needs of it, and nothing else."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from emulators.bochs import saved_state
from emulators.host.errors import EmulatorError
from emulators.host.files import private_copy
from emulators.host.tools import ran
from emulators.hosted.appliance.start import Hosting

FACTS = "facts.json"


def keep(hosting: Hosting, made: Path, target: Path, facts: msgspec.Struct) -> None:
    """Move what a restore needs into the cache. Raises EmulatorError when there is no room."""
    state = made / "state"
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
