"""Writing a run to disk, as store.py lays it out."""

from __future__ import annotations

import gzip
import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from difftest.atomic import encode, file_name, sync, write, writing
from difftest.judging.confirmation import Confirmation
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootRecord
from difftest.reading.screen_reading import ScreenReading
from difftest.run.metadata import CaseSnapshot, Meta, Refusal
from difftest.run.store import BLOBS, LARGEST_STORED_IMAGE
from emulators.observation import Observation


class RunWriter:
    """Writes one run. Not shared between processes. Every method raises StoreError when the disk does not take it."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self._meta = meta

    @classmethod
    def create(cls, root: Path, meta: Meta) -> RunWriter:
        """Make the run's folder below `root` and point `latest` at it. `meta.run` names it; see `new_run_id()`."""
        folder = root / file_name(meta.run)
        with writing(root):
            folder.mkdir(parents=True)
            write(folder / "run.json", encode(meta))
            link = root / f".latest-{secrets.token_hex(4)}"
            link.symlink_to(folder.name)
            link.replace(root / "latest")
        return cls(folder, meta)

    def add_case(self, snapshot: CaseSnapshot, image: Path) -> None:
        """Keep a case and its image. The image comes first: where there is a case.json, there is what it speaks of."""
        folder = self._case(snapshot.name)
        stored = self.folder / "images" / f"{file_name(snapshot.image_sha256)}.img.gz"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if snapshot.image_bytes <= LARGEST_STORED_IMAGE and not stored.exists():
                stored.parent.mkdir(exist_ok=True)
                write(stored, gzip.compress(image.read_bytes(), compresslevel=1, mtime=0))
            write(folder / "case.json", encode(snapshot))

    def add_observation(self, case: str, boot: BootRecord, observation: Observation) -> None:
        """Keep an observation: it is there as a whole, or not at all."""
        parent = self._case(case) / file_name(observation.target)
        with writing(parent):
            parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
            try:
                _fill(temporary, observation)
                write(temporary / "boot.json", encode(boot))
                temporary.chmod(0o755)
                temporary.replace(parent / str(boot.number))
                sync(parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def add_screen(self, case: str, target: str, number: int, reading: ScreenReading) -> None:
        self._add(self._case(case) / file_name(target) / str(number) / "screen.json", reading)

    def add_results(self, case: str, results: list[Result]) -> None:
        self._add(self._case(case) / "results.json", results)

    def add_confirmations(self, case: str, confirmations: list[Confirmation]) -> None:
        self._add(self._case(case) / "confirmation.json", confirmations)

    def add_refusals(self, case: str, refusals: list[Refusal]) -> None:
        with writing(self._case(case)):
            self._case(case).mkdir(parents=True, exist_ok=True)
        self._add(self._case(case) / "refusals.json", refusals)

    def finish(self, status: str) -> None:
        """Say how the run ended: "finished" or "interrupted"."""
        self._meta = msgspec.structs.replace(self._meta, status=status, ended=now())
        self._add(self.folder / "run.json", self._meta)

    def _case(self, name: str) -> Path:
        return self.folder / "cases" / file_name(name)

    def _add(self, path: Path, value: Any) -> None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)  # a case may be judged before its image is on the disk
            write(path, encode(value))


def new_run_id() -> str:
    """Sorts by time, and two runs started in one second differ."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fill(folder: Path, observation: Observation) -> None:
    """Write an observation's files: no blob is inside the JSON, and what was not taken has no file."""
    for field, name in BLOBS.items():
        if blob := getattr(observation, field):
            write(folder / name, blob)
    for name, data in observation.logs.items():
        (folder / "logs").mkdir(exist_ok=True)
        write(folder / "logs" / file_name(name), data)
    bare = msgspec.structs.replace(
        observation, serial=b"", debug=b"", ram_log=b"", screen=None, text_memory=None, logs={}
    )
    write(folder / "observation.json", encode(bare))
