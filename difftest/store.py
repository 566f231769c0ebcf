"""Runs on disk: one folder per run, complete enough to redo every report with no emulator.

    results/<run>/run.json                        what was asked, by which tool version, on which host; the targets
    results/<run>/images/<sha256>.img.gz          the bytes that were booted
    results/<run>/cases/<case>/case.json          the case as it was: manifest, checks, image hash
    results/<run>/cases/<case>/results.json       the verdicts, written when the case was judged
    results/<run>/cases/<case>/<target>/<n>/      one observation: observation.json, serial.bin, screen.png, text.bin,
                                                  screen.json, logs/

Every file is written beside its place and renamed; an observation's folder is renamed as a whole. A kill at any moment
leaves whole observations and whole cases, never a half one.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from difftest.judge import About, Names
from difftest.reading import ScreenReading
from difftest.result import Result
from emulators.observation import Observation

SCHEMA = 1
LARGEST_JSON = 64 << 20
LARGEST_BLOB = 256 << 20
LARGEST_STORED_IMAGE = 64 << 20
T = TypeVar("T")
BLOBS = {"serial": "serial.bin", "screen": "screen.png", "text_memory": "text.bin"}


class StoreError(Exception):
    """A stored run that cannot be read or written: the file, and what is wrong."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """run.json."""

    schema: int = SCHEMA
    run: str
    tool_version: str
    command: list[str]
    started: str  # ISO 8601, UTC
    ended: str = ""
    status: str = "running"  # running, finished, interrupted
    host: dict[str, str] = {}
    reference: str
    targets: dict[str, Names]
    identities: dict[str, dict[str, str]]


class CaseSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """case.json."""

    name: str
    title: str = ""
    manifest: str = ""  # the text of case.toml, "" for a bare image
    image_sha256: str
    image_bytes: int
    argument: str  # what `difftest run` takes to run this case again
    checks: list[About] = []


class RunWriter:
    """Writes one run. Not shared between processes."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self._meta = meta

    @classmethod
    def create(cls, root: Path, meta: Meta) -> RunWriter:
        """Make the run's folder below `root` and point `latest` at it. `meta.run` names it; see `new_run_id()`."""
        folder = root / meta.run
        try:
            folder.mkdir(parents=True)
            writer = cls(folder, meta)
            writer._write_json(folder / "run.json", meta)
            link = root / f".latest-{secrets.token_hex(4)}"
            link.symlink_to(meta.run)
            link.replace(root / "latest")
        except OSError as error:
            raise StoreError(f"cannot write results in {root}: {error.strerror}", hint="choose another --results") from error
        return writer

    def add_case(self, snapshot: CaseSnapshot, image: Path) -> None:
        folder = self._case(snapshot.name)
        folder.mkdir(parents=True, exist_ok=True)
        stored = self.folder / "images" / f"{snapshot.image_sha256}.img.gz"
        if snapshot.image_bytes <= LARGEST_STORED_IMAGE and not stored.exists():
            stored.parent.mkdir(exist_ok=True)
            _write(stored, gzip.compress(image.read_bytes(), compresslevel=1, mtime=0))
        self._write_json(folder / "case.json", snapshot)

    def add_observation(self, case: str, number: int, observation: Observation) -> None:
        """Keep an observation: it is there as a whole, or not at all."""
        parent = self._case(case) / file_name(observation.target)
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        try:
            for field, name in BLOBS.items():
                if (blob := getattr(observation, field)) is not None:
                    _write(temporary / name, blob)
            for name, data in observation.logs.items():
                (temporary / "logs").mkdir(exist_ok=True)
                _write(temporary / "logs" / file_name(name), data)
            bare = msgspec.structs.replace(observation, serial=b"", screen=None, text_memory=None, logs={})
            _write(temporary / "observation.json", _encode(bare))
            temporary.chmod(0o755)
            temporary.replace(parent / str(number))
            _sync(parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def add_screen(self, case: str, target: str, number: int, reading: ScreenReading) -> None:
        self._write_json(self._case(case) / file_name(target) / str(number) / "screen.json", reading)

    def add_results(self, case: str, results: list[Result]) -> None:
        self._write_json(self._case(case) / "results.json", results)

    def finish(self, status: str) -> None:
        self._meta = msgspec.structs.replace(self._meta, status=status, ended=now())
        self._write_json(self.folder / "run.json", self._meta)

    def _case(self, name: str) -> Path:
        return self.folder / "cases" / file_name(name)

    def _write_json(self, path: Path, value: Any) -> None:
        _write(path, _encode(value))


class StoredRun:
    """A run read back. Nothing in it is trusted: every method raises StoreError for a file that is not what it should be."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta

    @classmethod
    def open(cls, folder: Path) -> StoredRun:
        path = folder / "run.json"
        head = _read_json(path, dict[str, Any])
        if head.get("schema") != SCHEMA:
            raise StoreError(
                f"{path}: schema version {head.get('schema')!r}, this difftest reads {SCHEMA}",
                hint="report it with the version that wrote it",
            )
        return cls(folder, _read_json(path, Meta))

    @classmethod
    def find(cls, root: Path, name: str) -> StoredRun:
        """A run by its name, "latest", or a path to its folder."""
        folder = root / name if not Path(name).is_dir() or name == "latest" else Path(name)
        if not folder.is_dir():
            raise StoreError(f"no run {name} in {root}", hint="`difftest run` makes one")
        return cls.open(folder.resolve())

    def cases(self) -> list[CaseSnapshot]:
        return [_read_json(path, CaseSnapshot) for path in sorted((self.folder / "cases").glob("*/case.json"))]

    def results(self, case: str) -> list[Result]:
        """The verdicts on a case; empty when it was never judged."""
        path = self.folder / "cases" / file_name(case) / "results.json"
        return _read_json(path, list[Result]) if path.exists() else []

    def all_results(self) -> list[Result]:
        return [result for case in self.cases() for result in self.results(case.name)]

    def observations(self, case: str) -> dict[str, list[tuple[Observation, ScreenReading]]]:
        """Each target's observations in the order of the boots, with what was read from the screen."""
        found: dict[str, list[tuple[Observation, ScreenReading]]] = {}
        for target in sorted((self.folder / "cases" / file_name(case)).iterdir()):
            boots = [folder for folder in target.glob("[0-9]*") if folder.is_dir()] if target.is_dir() else []
            for folder in sorted(boots, key=lambda path: int(path.name)):
                observation = self._observation(folder)
                screen = folder / "screen.json"
                reading = _read_json(screen, ScreenReading) if screen.exists() else ScreenReading(problem="never read")
                found.setdefault(observation.target, []).append((observation, reading))
        return found

    def _observation(self, folder: Path) -> Observation:
        bare = _read_json(folder / "observation.json", Observation)
        blobs = {field: _read(folder / name) for field, name in BLOBS.items() if (folder / name).exists()}
        logs = {path.name: _read(path) for path in sorted((folder / "logs").glob("*"))}
        return msgspec.structs.replace(bare, **blobs, logs=logs)


def new_run_id() -> str:
    """Sorts by time, and two runs started in one second differ."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_name(name: str) -> str:
    """A name from a manifest or a log as one harmless path component."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")[:120] or "_"


def _encode(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that at any moment there is the old one, or the whole new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, largest: int = LARGEST_BLOB) -> bytes:
    try:
        if path.is_symlink():
            raise StoreError(f"{path}: a symbolic link, which no run contains")
        if path.stat().st_size > largest:
            raise StoreError(f"{path}: larger than {largest} bytes")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="is this the folder of a run?") from error


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(_read(path, LARGEST_JSON), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: {error}", hint="the file was changed or is not whole") from error
