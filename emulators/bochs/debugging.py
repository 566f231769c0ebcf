"""A guest in Bochs that stops at an address, and Bochs' debugger there for somebody who looks himself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from emulators.bochs.configuration import MORE_MSRS, MSRS, bochs_config
from emulators.bochs.machine import bochsrc
from emulators.bochs.program import BochsProgram
from emulators.bochs.uart_rom import uart_rom
from emulators.host.files import private_copy
from emulators.host.scratch import scratch
from emulators.observation import Boot
from emulators.standalone import IMAGE, unseen

SYMBOLS = "symbols"


def debug_in_bochs(program: BochsProgram, boot: Boot, model: str, place: int, symbols: Mapping[int, str]) -> int:
    """Boot to this linear address; the debugger then has our terminal, or whatever our input is, and knows the symbols.
    Its exit code.
    """
    with scratch("debug") as folder:
        private_copy(boot.image, folder / IMAGE)
        (folder / "uart.rom").write_bytes(uart_rom())
        (folder / MSRS).write_text(MORE_MSRS)
        (folder / SYMBOLS).write_text("".join(f"{address:x} {name}\n" for address, name in symbols.items()))
        config = [*bochs_config(boot, model, f"{folder}/"), f"com1: enabled=1, mode=file, dev={folder / 'com1'}"]
        log = str(folder / "bochs.log")
        lines = bochsrc(unseen(log), config, program.bios, program.vga_bios, warns=program.warns)
        (folder / "bochsrc").write_text("\n".join(lines) + "\n")
        commands = [f'ldsym global "{folder / SYMBOLS}"', f"lb {place:#x}", "c"]
        (folder / "debugger.rc").write_text("\n".join(commands) + "\n")
        argv = [*program.argv, "-q", "-f", "bochsrc", *(program.debugger or ()), "-rc", "debugger.rc"]
        environment = {**os.environ, **program.environment, "SDL_VIDEODRIVER": "dummy"}
        before = signal.signal(signal.SIGINT, lambda *_: None)  # it is Bochs' to be interrupted
        try:
            return subprocess.run(argv, cwd=folder, env=environment, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
