"""Runs on disk: one folder per run, complete enough to redo every report with no emulator.

    results/<run>/run.json                        what was asked, by which tool version, on which host; the targets
    results/<run>/images/<sha256>.img.gz          the bytes that were booted
    results/<run>/cases/<case>/case.json          the case as it was: manifest, checks, image hash
    results/<run>/cases/<case>/results.json       the verdicts, written when the case was judged
    results/<run>/cases/<case>/refusals.json      the targets that were not booted, and why
    results/<run>/cases/<case>/confirmation.json  what confirming its divergences showed, where that was done
    results/<run>/cases/<case>/<target>/<n>/      one boot: boot.json (which of the run's it is), observation.json,
                                                  serial.bin, debug.bin, ram-log.bin, screen.png, text.bin,
                                                  screen.json, logs/

Every file is written beside its place and renamed; an observation's folder is renamed as a whole. A kill at any moment
leaves whole observations and whole cases, never a half one.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import zlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from difftest.atomic import NO_RUN, file_name, read, read_json
from difftest.errors import StoreError, refusal
from difftest.judging.confirmation import Confirmation
from difftest.judging.result import Outline, Result
from difftest.reading.boot_reading import BootReading, BootRecord, read_boot
from difftest.reading.screen_reading import ScreenReading
from difftest.run import schema1
from difftest.run.metadata import SCHEMA, CaseSnapshot, Meta, Refusal
from difftest.text import visible
from emulators.observation import Observation

LARGEST_BLOB = 256 << 20
LARGEST_STORED_IMAGE = 64 << 20
T = TypeVar("T")
BOOT = re.compile(r"[0-9]{1,6}")  # the folder of one boot
BLOBS = {
    "serial": "serial.bin",
    "debug": "debug.bin",
    "ram_log": "ram-log.bin",
    "screen": "screen.png",
    "text_memory": "text.bin",
}


class StoredRun:
    """A run read back. Nothing in it is trusted: every method raises StoreError for a file that is not what it should
    be.
    """

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    @classmethod
    def open(cls, folder: Path) -> StoredRun:
        folder = folder.resolve()
        path = folder / "run.json"
        head = read_json(folder, path, dict[str, Any])
        if head.get("schema") not in (SCHEMA, schema1.SCHEMA):
            raise StoreError(
                f"{path}: schema version {visible(repr(head.get('schema')), 40)}, this difftest reads 1 to {SCHEMA}",
                hint="report it with the version that wrote it",
            )
        return cls(folder, read_json(folder, path, Meta))

    @classmethod
    def find(cls, root: Path, name: str = "latest") -> StoredRun:
        """A run by its name, "latest", or a path to its folder."""
        folder = root / name if not Path(name).is_dir() or name == "latest" else Path(name)
        if not folder.is_dir():
            raise StoreError(f"no run {visible(name, 200)} in {root}", hint="`difftest run` makes one")
        return cls.open(folder)

    def siblings(self) -> list[StoredRun]:
        """The other runs beside this one that the same command made, in their order: one command may run many
        versions.
        """
        found: list[StoredRun] = []
        if not self.meta.series:
            return found
        for folder in sorted(self._list(self.folder.parent)):
            if folder.resolve() != self.folder and not folder.is_symlink() and (folder / "run.json").is_file():
                with contextlib.suppress(StoreError):
                    run = StoredRun.open(folder)
                    if run.meta.series == self.meta.series:
                        found.append(run)
        return found

    def cases(self) -> list[CaseSnapshot]:
        paths = sorted(self._list(self.folder / "cases"))
        return [self._json(path / "case.json", CaseSnapshot) for path in paths if (path / "case.json").exists()]

    def results(self, case: str) -> list[Result]:
        """The verdicts on a case; empty when it was never judged."""
        path = self._case(case) / "results.json"
        if not path.exists():
            return []
        if self.meta.schema == schema1.SCHEMA:
            return [schema1.result(one) for one in self._json(path, list[schema1.FormerResult])]
        return self._json(path, list[Result])

    def outlines(self, case: str) -> list[Outline]:
        """The verdicts on a case without their evidence."""
        path = self._case(case) / "results.json"
        if self.meta.schema != schema1.SCHEMA and path.exists():
            return self._json(path, list[Outline])
        found = self.results(case)
        return [
            Outline(
                check=one.check, sdm=one.sdm, summary=one.summary, sides=one.sides, verdict=one.verdict, own=one.own
            )
            for one in found
        ]

    def all_results(self) -> list[Result]:
        return [result for case in self.cases() for result in self.results(case.name)]

    def confirmations(self, case: str) -> list[Confirmation]:
        path = self._case(case) / "confirmation.json"
        return self._json(path, list[Confirmation]) if path.exists() else []

    def refusals(self, case: str) -> list[Refusal]:
        path = self._case(case) / "refusals.json"
        return self._json(path, list[Refusal]) if path.exists() else []

    def boots(self, case: str) -> dict[str, list[BootReading]]:
        """Each target's boots, those of the first repeat first, without variants."""
        return {
            target: sorted(plain, key=lambda reading: reading.boot.order)
            for target, boots in self.every_boot(case).items()
            if (plain := [reading for reading in boots if not reading.boot.variant])
        }

    def every_boot(self, case: str) -> dict[str, list[BootReading]]:
        """All that was booted, variants too, by target, in the order of the boots."""
        found: dict[str, list[BootReading]] = {}
        for target in sorted(path for path in self._list(self._case(case)) if path.is_dir()):
            boots = [path for path in self._list(target) if BOOT.fullmatch(path.name)]
            for folder in sorted(boots, key=lambda path: int(path.name)):
                observation, boot = self._observation(folder)
                screen = folder / "screen.json"
                reading = self._json(screen, ScreenReading) if screen.exists() else ScreenReading(problem="never read")
                found.setdefault(observation.target, []).append(read_boot(observation, reading, boot))
        return found

    def image(self, snapshot: CaseSnapshot) -> bytes:
        """The very bytes that were booted, checked against their hash. StoreError where they were too large to keep."""
        path = self.folder / "images" / f"{file_name(snapshot.image_sha256)}.img.gz"
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(read(self.folder, path, LARGEST_BLOB))) as file:
                data = file.read(LARGEST_STORED_IMAGE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{path}: {error}", hint="the file was changed or is not whole") from error
        if len(data) != snapshot.image_bytes or hashlib.sha256(data).hexdigest() != snapshot.image_sha256:
            raise StoreError(f"{path}: not the bytes that case.json speaks of", hint="the file was changed")
        return data

    def _case(self, name: str) -> Path:
        return self.folder / "cases" / file_name(name)

    def _observation(self, folder: Path) -> tuple[Observation, BootRecord]:
        path, number = folder / "observation.json", int(folder.name)
        if self.meta.schema == schema1.SCHEMA:
            bare, boot = schema1.observation(self._json(path, schema1.FormerObservation), number)
        else:
            bare = self._json(path, Observation)
            boot = msgspec.structs.replace(self._json(folder / "boot.json", BootRecord), number=number)
        blobs = {
            field: read(self.folder, folder / name, LARGEST_BLOB)
            for field, name in BLOBS.items()
            if (folder / name).exists()
        }
        logs = {path.name: read(self.folder, path, LARGEST_BLOB) for path in sorted(self._list(folder / "logs"))}
        return msgspec.structs.replace(bare, **blobs, logs=logs), boot

    def _list(self, folder: Path) -> list[Path]:
        """What is in a folder, without what a killed writer left unfinished. Empty when there is no such folder."""
        try:
            return [path for path in folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refusal(error, f"{folder}: {error.strerror}", hint=NO_RUN, otherwise=StoreError) from error

    def _json(self, path: Path, kind: type[T]) -> T:
        return read_json(self.folder, path, kind)
