"""All targets by name. A new emulator is a module with a Target, and a line here."""

from __future__ import annotations

from pathlib import Path

from emulators.bochs import Bochs
from emulators.hosted import KvmHosted
from emulators.native import Kvm, Tcg
from emulators.target import Target

REFERENCE = Bochs.name
# The targets that are KVM, the best first: a run takes the first that the host and the case allow.
KVM_TARGETS = (Kvm.name, KvmHosted.name)
OPINION = Tcg.name


def targets(kernel: str | None = None, cache: Path | None = None, cpu_model: str | None = None) -> dict[str, Target]:
    """Every target, in the order in which they are listed. `kernel` is the hosted target's (see KvmHosted), `cpu_model` that of
    both Bochs: the reference, and the one that hosts KVM.
    """
    every: list[Target] = [Bochs(cpu_model), Kvm(), KvmHosted(kernel, cache, cpu_model), Tcg()]
    return {target.name: target for target in every}
