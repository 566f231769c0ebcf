"""What a run will do: which cases, on which targets, how often, within which limits."""

from __future__ import annotations

from pathlib import Path

import msgspec

from difftest.case import Case
from difftest.judge import About
from emulators.observation import Boot


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A case with its image at hand: built or copied, hashed, padded to what every target can boot."""

    case: Case
    image: Path
    sha256: str
    abouts: tuple[About, ...] = ()

    def boot(self, total: float | None) -> Boot:
        case = self.case
        return Boot(
            image=self.image,
            image_sha256=self.sha256,
            machine=case.machine(),
            limits=case.limits(total),
            end=case.manifest.end,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be done. `reference` and `subjects` are target names."""

    prepared: tuple[Prepared, ...]
    reference: str
    subjects: tuple[str, ...]
    jobs: int = 2
    repeats: int = 1
    total_seconds: float | None = None
