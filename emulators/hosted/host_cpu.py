"""Target `host-cpu`: the image booted directly in the Bochs that hosts KVM, which shows what KVM leaves to its CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emulators.bochs.program import BochsProgram
from emulators.bochs.target import Bochs, observable
from emulators.host.errors import Progress
from emulators.observation import Boot, Machine


class HostCpu(Bochs):
    """See emulators.target.Confirmable.host_cpu. The program and the CPU model are those that KVM runs on."""

    name = "host-cpu"
    configuration = "host-cpu.bochsrc"

    def __init__(
        self,
        hosting: Callable[[Progress], BochsProgram],
        bochs: str | None,
        cpu_model: str,
        cache: Path,
        *,
        chosen: bool,
    ) -> None:
        """`hosting` finds the Bochs that hosts KVM, which `bochs` names if the user chose it; `chosen` is whether the
        user chose the CPU model.
        """
        super().__init__(bochs, cpu_model, cache)
        self.chosen = chosen
        self._hosting = hosting

    def program(self, progress: Progress) -> BochsProgram:
        """The Bochs that hosts KVM, fetched when need be. Raises EmulatorError, also when it has no debugger: KVM needs
        none, looking at a guest without KVM does.
        """
        if self._program is None:
            self._program = observable(self._hosting(progress), "build the hosting Bochs with --enable-debugger")
        return self._program

    def cpu_model(self, boot: Boot) -> str:
        """The hosting model, whatever models a case asks for: those are for the reference and for KVM's guest."""
        return self.model

    def variants(self, machine: Machine) -> dict[str, Machine]:
        """None: with another model it is not the CPU under this KVM."""
        return {}
