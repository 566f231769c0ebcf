"""A target without an emulator, for unit tests of everything that drives targets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from emulators.host.errors import Progress
from emulators.observation import Boot, Ending, Machine, Observation
from emulators.standalone import StandaloneBoot
from emulators.target import NESTED, OTHER_CPU, Session, Target

Script = Callable[[Boot], Observation]


class Fake(Target):
    """Answers every boot with what `script` makes of it; an exception in the script is an emulator that blows up."""

    def __init__(
        self,
        name: str,
        script: Script,
        *,
        implementation: str = "Fake",
        thorough: Fake | None = None,
        other_host: Fake | None = None,
        host_cpu: Fake | None = None,
    ) -> None:
        self.name = name
        self.implementation = implementation
        self.sessions = 0
        self._thorough = thorough
        self._other_host = other_host
        self._host_cpu = host_cpu
        self._script = script

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        return StandaloneBoot(command=f"cp disk.img {self.name}.serial", serial=f"{self.name}.serial")

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return {OTHER_CPU: msgspec.structs.replace(machine, cpu_models={self.name: "other"})}

    def identity(self) -> dict[str, str]:
        return {"fake": self.name}

    def thorough(self) -> Fake | None:
        return self._thorough

    def other_host(self) -> Fake | None:
        return self._other_host

    def host_cpu(self) -> Fake | None:
        return self._host_cpu

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        self.sessions += 1
        yield self

    async def boot(self, boot: Boot) -> Observation:
        return self._script(boot)


def observation(target: str, serial: bytes, ending: Ending = Ending.FINISHED, **fields: object) -> Observation:
    """An observation of a text screen that shows nothing; `fields` override the defaults."""
    known: dict[str, object] = {
        "target": target,
        "identity": {"fake": target},
        "image_sha256": "0" * 64,
        "image_sha256_after": "0" * 64,
        "ending": ending,
        "detail": "as scripted",
        "serial": serial,
        **fields,
    }
    return Observation(**known)  # type: ignore[arg-type]
