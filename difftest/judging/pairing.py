"""What is judged: a case, and the boots of each of its sides."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from difftest.case.manifest import About, Manifest
from difftest.judging.result import Role
from difftest.reading.boot_reading import BootReading
from difftest.verdict import Verdict, label
from emulators.target import Names


class SideBoots(msgspec.Struct, frozen=True, kw_only=True):
    """All boots of one side. `missing` says why there is none, where one was needed."""

    role: Role
    names: Names
    boots: Sequence[BootReading] = ()
    missing: str = ""


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared: a case, and its sides. Each side has one BootReading for each repeated boot, or several where a
    check ended the guest and the rest was booted after it.

    A reference that is the very CPU under the subject takes part twice, under both roles.
    """

    manifest: Manifest
    abouts: Sequence[About]  # the checks that were switched on
    whole: bool = True  # these are all checks of the image
    sides: Sequence[SideBoots]

    def side(self, role: Role) -> SideBoots | None:
        return next((side for side in self.sides if side.role == role), None)

    @property
    def reference(self) -> SideBoots:
        return self.sides[0]

    @property
    def subject(self) -> SideBoots:
        return self.sides[-1]

    @property
    def targets(self) -> dict[Role, str]:
        return {side.role: side.names.target for side in self.sides}

    def label(self, verdict: Verdict) -> str:
        """A verdict in words."""
        names = self.reference.names.implementation, self.subject.names.implementation
        return label(verdict, reference=names[0], subject=names[1])

    @property
    def versions(self) -> dict[str, str]:
        """What the version ranges and parameters of a `[[known]]` entry speak of, by its keys; "" where not known."""
        first = {side.role: side.boots[0].observation.identity for side in self.sides if side.boots}
        reference, subject = first.get(Role.REFERENCE, {}), first.get(Role.SUBJECT, {})
        return {
            "kernels": subject.get("kernel", ""),
            "bochs": reference.get("bochs", ""),
            "host_bochs": subject.get("hosting bochs", ""),
            "kvm_param": subject.get("module parameters", ""),
        }

    @property
    def hardware(self) -> str:
        """What the CPU under the subject is, in words."""
        host = self.side(Role.HOST_CPU)
        if host is None or not host.boots:
            return "the CPU under it"
        identity = host.boots[0].observation.identity
        return f"{host.names.implementation} {identity.get('bochs', '')} ({identity.get('cpu model', '')})"
