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
import secrets
import shutil
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from difftest.atomic import NO_RUN, encode, file_name, read, read_json, sync, write, writing
from difftest.case.manifest import About
from difftest.errors import StoreError
from difftest.judging.confirmation import Confirmation
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading, BootRecord, read_boot
from difftest.reading.screen_reading import ScreenReading
from difftest.run import schema1
from difftest.text import visible
from difftest.verdict import Verdict
from emulators.observation import Medium, Observation
from emulators.target import Names

__all__ = [
    "SCHEMA",
    "CaseSnapshot",
    "Meta",
    "Refusal",
    "RunWriter",
    "StoreError",
    "StoredRun",
    "file_name",
    "new_run_id",
    "now",
]

SCHEMA = 2
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


class HostCpuTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The emulated CPU under a subject: as a target of its own, or why it could not be had."""

    target: str = ""
    missing: str = ""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """run.json."""

    schema: int = SCHEMA
    run: str
    tool_version: str
    command: list[str]
    started: str  # ISO 8601, UTC
    ended: str = ""
    series: str = ""  # what the runs of one command have in common that ran several versions; "" for a single run
    status: str = "running"  # running, finished, interrupted
    host: dict[str, str] = {}
    reference: str
    targets: dict[str, Names]
    identities: dict[str, dict[str, str]]
    hosts: dict[str, HostCpuTarget] = {}  # by subject: the emulated CPU under it
    idle: dict[str, list[str]] = {}  # capabilities of the targets whose implementation took no part

    @property
    def host_targets(self) -> set[str]:
        """The names of the targets that took part only as the CPU under another."""
        return {host.target for host in self.hosts.values() if host.target}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a case was not booted on a target: a capability is missing, or the target could not be used."""

    target: str
    verdict: Verdict
    reason: str


class CaseSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """case.json."""

    name: str
    title: str = ""
    manifest: str = ""  # the text of case.toml, "" for a bare image
    image_sha256: str
    image_bytes: int
    argument: str  # what `difftest run` takes to run this case again
    checks: list[About] = []  # that were switched on
    whole: bool = True  # these are all checks of the image
    medium: Medium = Medium.DISK
    cdrom: bool = False  # the same of a CD, as it was said before there were floppies
    options: list[str] = []  # of `difftest run`, beside the argument, for an image without a manifest
    second_sha256: str = ""  # of a second disk, which is not kept

    @property
    def boots_from(self) -> Medium:
        return Medium.CDROM if self.cdrom else self.medium


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
            raise StoreError(f"{folder}: {error.strerror}", hint=NO_RUN) from error

    def _json(self, path: Path, kind: type[T]) -> T:
        return read_json(self.folder, path, kind)


def new_run_id() -> str:
    """Sorts by time, and two runs started in one second differ."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fill(folder: Path, observation: Observation) -> None:
    """Write an observation's files: no blob stands inside the JSON, and what was not taken has no file."""
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
