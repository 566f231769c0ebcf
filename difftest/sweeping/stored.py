"""A sweep read back from its folder."""

from __future__ import annotations

from pathlib import Path

from difftest.atomic import read_json
from difftest.errors import CaseError, StoreError
from difftest.sweeping.findings import SweepFinding
from difftest.sweeping.sweep import SweepResult
from difftest.text import visible

LATEST = "latest-sweep"


class StoredSweep:
    """A sweep's folder and what its sweep.json says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.result = read_json(self.folder, self.folder / "sweep.json", SweepResult)

    @classmethod
    def find(cls, root: Path, name: str) -> StoredSweep:
        folder = Path(name) if (Path(name) / "sweep.json").is_file() else root / name
        if not (folder / "sweep.json").is_file():
            raise StoreError(f"no sweep {visible(name, 200)} in {root}", hint="`difftest sweep` makes one")
        return cls(folder)

    def findings(self) -> list[SweepFinding]:
        return [finding for family in self.result.families for finding in family.findings]

    def finding(self, name: str) -> SweepFinding:
        """A finding by its name. Raises CaseError."""
        found = {finding.signature.name: finding for finding in self.findings()}
        if name not in found:
            hint = f"it has {', '.join(found)}" if found else "it found nothing"
            raise CaseError(f"{self.folder.name} has no finding {visible(name, 100)}", hint=hint)
        return found[name]
