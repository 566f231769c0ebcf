"""What a run will do: which cases, on which targets, how often, within which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from difftest.case import Case, CaseError
from difftest.confirmation import Confirm
from difftest.judge import About, Names
from difftest.params import selection
from emulators.observation import Boot
from emulators.ram_log import RamLog
from emulators.registry import KVM_TARGETS, OPINION, REFERENCE
from emulators.target import Target


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A case with its image at hand: built or copied, hashed, padded to what every target can boot."""

    case: Case
    image: Path
    sha256: str
    cdrom: bool = False
    second: Path | None = None  # the second disk
    second_sha256: str = ""
    ram_log: RamLog | None = None  # where the image leaves its lines
    abouts: tuple[About, ...] = ()  # the checks that are switched on
    numbers: tuple[int, ...] = ()  # their numbers in the image's parameter block

    def boot(self, total: float | None) -> Boot:
        case = self.case
        return Boot(
            image=self.image,
            image_sha256=self.sha256,
            cdrom=self.cdrom,
            second=self.second,
            second_sha256=self.second_sha256,
            machine=case.machine(),
            limits=case.limits(total),
            ram_log=self.ram_log,
            end=case.manifest.end,
            end_screen=case.manifest.end_screen,
        )

    def only(self, indices: Sequence[int], total: float | None) -> Boot:
        """The same boot with only some of `abouts` switched on, by their place in it."""
        image, digest = selection(self.image, [self.numbers[index] for index in indices])
        return msgspec.structs.replace(self.boot(total), image=image, image_sha256=digest)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared case and the targets that are held against the reference on it."""

    prepared: Prepared
    subjects: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be done. `reference` and all subjects are target names."""

    jobs: tuple[Job, ...]
    reference: str = REFERENCE
    slots: int = 2  # boots that may go on side by side
    repeats: int = 1
    total_seconds: float | None = None
    confirm: Confirm = Confirm.NONE
    read_afresh: bool = False  # screens are read by tesseract now, whatever it has read before

    def targets(self) -> list[str]:
        """Every target that takes part, the reference first."""
        return [self.reference, *dict.fromkeys(subject for job in self.jobs for subject in job.subjects)]


def names_of(target: Target) -> Names:
    return Names(target=target.name, implementation=target.implementation, inherits=target.inherits)


def subjects_for(case: Case, targets: Mapping[str, Target], asked: Sequence[str]) -> tuple[str, ...]:
    """The subjects of one case: those asked for, or else the best KVM that this host offers for it, and TCG where the
    case needs nothing that TCG lacks.

    Raises CaseError for a name that is no target, or when there is no KVM at all.
    """
    if asked:
        for name in asked:
            if name not in targets:
                raise CaseError(f"no target is called {name}", hint=f"targets: {', '.join(targets)}")
        return tuple(name for name in asked if name != REFERENCE)
    fit = [name for name in (*KVM_TARGETS, OPINION) if _fits(case, targets[name])]
    best = next((name for name in fit if name in KVM_TARGETS), None)
    if best is None:
        raise CaseError(f"{case.name}: no KVM target can run here", hint="`difftest doctor` tells what is missing")
    return (best, OPINION) if OPINION in fit else (best,)


def _fits(case: Case, target: Target) -> bool:
    return set(case.manifest.needs) <= target.capabilities and all(need.met for need in target.requirements())
