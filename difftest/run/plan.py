"""What a run will do: which cases, on which targets, how often, within which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from difftest.case.case import Case
from difftest.errors import CaseError, HostError
from difftest.image.prepare import PreparedCase
from difftest.judging.confirmation import ConfirmScope
from emulators.registry import KVM_TARGETS, OPINION, REFERENCE
from emulators.target import Names, Target


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared case and the targets that are compared with the reference on it."""

    prepared: PreparedCase
    subjects: tuple[str, ...]

    @property
    def groups(self) -> list[PreparedCase]:
        """The case by the emulated CPUs that its checks need."""
        return self.prepared.split()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be done. `reference` and all subjects are target names."""

    jobs: tuple[Job, ...]
    reference: str = REFERENCE
    slots: int = 2  # boots that may go on side by side
    repeats: int = 1
    confirm: ConfirmScope = ConfirmScope.NONE
    read_afresh: bool = False  # screens are read by tesseract now, whatever it has read before

    def targets(self) -> list[str]:
        """Every target that takes part, the reference first."""
        return [self.reference, *dict.fromkeys(subject for job in self.jobs for subject in job.subjects)]


def names_of(target: Target) -> Names:
    return Names(target=target.name, implementation=target.implementation)


def subjects_for(case: Case, targets: Mapping[str, Target], asked: Sequence[str]) -> tuple[str, ...]:
    """The subjects of one case: those asked for, or else the best KVM that this host offers for it, and TCG where the
    case is built with the kit and needs nothing that TCG lacks.

    Raises CaseError for a name that is no target, HostError when there is no KVM at all.
    """
    if asked:
        subjects = [name for name in targets if name != REFERENCE]
        for name in asked:
            if name not in targets:
                raise CaseError(f"no target is called {name}", hint=f"targets: {', '.join(subjects)}")
            if name not in subjects:
                hint = f"what can be compared with it: {', '.join(subjects)}; --bochs chooses which Bochs it is"
                raise CaseError(f"{name} is the reference", hint=hint)
        return tuple(asked)
    fit = [name for name in (*KVM_TARGETS, OPINION) if _fits(case, targets[name])]
    best = next((name for name in fit if name in KVM_TARGETS), None)
    if best is None:
        raise HostError(f"{case.name}: no KVM target can run here", hint="`difftest doctor` lists what is missing")
    return (best, OPINION) if OPINION in fit and case.manifest.sources else (best,)


def fall_back(jobs: Sequence[Job], targets: Mapping[str, Target]) -> str:
    """A line on cases for which the best KVM of this host is not taken although it is there, because it lacks what they
    need; "" when there are none.
    """
    best = targets[KVM_TARGETS[0]]
    cases = [job.prepared.case for job in jobs if best.name not in job.subjects]
    lacking = sorted({need for case in cases for need in case.manifest.needs} - best.capabilities)
    if not lacking or not _usable(best):
        return ""
    instead = next(name for job in jobs for name in job.subjects if name in KVM_TARGETS[1:])
    names = ", ".join(case.name for case in cases)
    return f"{best.name} has no {', '.join(lacking)} here (is nesting off?): {instead} boots {names}"


def _fits(case: Case, target: Target) -> bool:
    return set(case.manifest.needs) <= target.capabilities and _usable(target)


def _usable(target: Target) -> bool:
    return all(need.met for need in target.requirements())
