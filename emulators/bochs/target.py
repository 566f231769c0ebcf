"""Target `bochs`: the image under Bochs directly. The reference."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from emulators.bochs.configuration import MORE_MSRS, MSRS, bochs_config
from emulators.bochs.cpu_models import CpuModelChoice, check_cpu_model
from emulators.bochs.machine import bochsrc
from emulators.bochs.program import BochsProgram, installed, program
from emulators.bochs.session import BochsSession, BochsSettings
from emulators.bochs.uart_rom import uart_rom
from emulators.bochs.xvfb import Displays
from emulators.host.errors import ChoiceError, Progress
from emulators.host.files import cache_folder
from emulators.observation import Boot, Machine
from emulators.standalone import STOCK_ROMS, StandaloneBoot, standalone_bochs, unseen
from emulators.target import NESTED, OTHER_CPU, Requirement, Session, Target, other_cpu

DEFAULT_MODEL = "corei7_haswell_4770"
OTHER_MODEL = "broadwell_ult"


class Bochs(CpuModelChoice, Target):
    """The image under a Bochs of its own."""

    name = "bochs"
    configuration = "bochsrc"  # its file, where it is booted by hand
    implementation = "Bochs"
    displays = Displays()  # of all targets that draw: the CPU under KVM is booted when the reference is done

    def __init__(self, bochs: str | None = None, cpu_model: str | None = None, cache: Path | None = None) -> None:
        """`bochs` is a version or a path, see `emulators.bochs.program.program`; None is the distribution's."""
        self.wanted = bochs
        self.model = cpu_model or DEFAULT_MODEL
        self.chosen = cpu_model is not None  # by the user
        self._cache = cache or cache_folder()
        self._program: BochsProgram | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED

    def requirements(self) -> list[Requirement]:
        x_server = Requirement("Xvfb", shutil.which("Xvfb") is not None, "virtual X display", "apt-get install xvfb")
        return [*bochs_requirements(self.wanted, "x"), x_server]

    def program(self, progress: Progress) -> BochsProgram:
        """The Bochs that was asked for, fetched when need be. Raises EmulatorError."""
        if self._program is None:
            found = program(self.wanted, self._cache, progress)
            self._program = observable(found, "build it with --enable-debugger; as --host-bochs it needs none")
        return self._program

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        serial = f"{self.name}.serial"
        config = [*bochs_config(boot, self.cpu_model(boot), ""), f"com1: enabled=1, mode=file, dev={serial}"]
        lines = bochsrc(unseen(f"{self.name}.log"), config, *STOCK_ROMS, warns=False)
        files = {"uart.rom": uart_rom(), MSRS: MORE_MSRS.encode()}
        return standalone_bochs(lines, serial, files, self.configuration)

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, self.model)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        other = OTHER_MODEL if machine.cpu_models.get(self.name, self.model) != OTHER_MODEL else DEFAULT_MODEL
        return {OTHER_CPU: other_cpu(machine, self.name, other)}

    def prepare(self, progress: Progress) -> None:
        """Fetch the Bochs that was asked for, unless it is installed or in the cache, and look whether it has the CPU
        model.

        Raises EmulatorError.
        """
        bochs = self.program(progress)
        if self.model != DEFAULT_MODEL:
            check_cpu_model(bochs, self.model)

    def check(self, machine: Machine) -> None:
        if model := machine.cpu_models.get(self.name):
            check_cpu_model(self.program(lambda line: None), model)

    def identity(self) -> dict[str, str]:
        known = self._program or installed()
        return {**known.identity(), "cpu model": self.model, "com1": "set to 115200 8N1, FIFOs on, by an option ROM"}

    def sharing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """The X servers that Bochs draws on."""
        return self.displays.reused()

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        settings = BochsSettings(self.name, self.configuration, self.displays, self.identity, self.cpu_model)
        yield BochsSession(settings, await asyncio.to_thread(self.program, progress), progress)


def observable(found: BochsProgram, hint: str) -> BochsProgram:
    """The same program. Raises ChoiceError with the hint when guests in it cannot be observed."""
    if found.debugger is None:
        raise ChoiceError(
            f"Bochs {found.version} has no debugger, through which registers and memory are read", hint=hint
        )
    return found


def bochs_requirements(wanted: str | None, display: str) -> list[Requirement]:
    """What running a Bochs takes (see `emulators.bochs.program.program`), with the display library "x" or "sdl2"."""
    install = "apt-get install bochs bochsbios vgabios"
    found = installed()
    vga_bios = Requirement("VGA BIOS", found.vga_bios.exists(), str(found.vga_bios), install)
    if wanted is not None:
        return [vga_bios]
    bochs = shutil.which(found.argv[0])
    library = f"libbx_{display}_gui.so"
    return [
        Requirement("Bochs", bochs is not None, found.version if bochs else "no bochs-bin", install),
        Requirement("Bochs BIOS", found.bios.exists(), str(found.bios), install),
        vga_bios,
        Requirement(
            "Bochs display",
            any(Path("/usr/lib").glob(f"*/bochs/plugins/{library}")),
            library,
            f"apt-get install bochs-{display.rstrip('2')}",
        ),
    ]
