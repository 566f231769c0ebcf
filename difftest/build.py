"""Builds a case's sources with the kit in cases/lib into a bootable raw image. gcc and binutils are all it takes.

Same sources, same compiler: same bytes, in a folder named after the hash of all that went in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from difftest.disk import whole_cylinders
from difftest.judge import About

KIT = Path(__file__).resolve().parent.parent / "cases" / "lib"
MAGIC = b"DIFFTEST-PARAMS\0"
BITMAP_OFFSET = len(MAGIC) + 8  # behind the version and a reserved word
BITMAP_BYTES = 64
FLAGS = [
    *["-m32", "-march=i686", "-std=gnu11", "-O2", "-ffreestanding", "-nostdlib", "-fno-pic", "-fno-pie"],
    *["-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-mno-sse", "-mno-mmx"],
    # The order of checks in the image is the order in the source.
    *["-fno-toplevel-reorder", "-Wall", "-Wextra", "-Werror"],
]


class BuildError(Exception):
    """A case does not build: the message carries the compiler's words, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Built(msgspec.Struct, frozen=True):
    """A bootable image. `checks` stand in the order of the selection's bits."""

    image: Path
    sha256: str
    checks: tuple[About, ...]


class _Record(msgspec.Struct, frozen=True):
    """built.json, beside the image."""

    sha256: str
    checks: tuple[About, ...]


def build_case(name: str, folder: Path, sources: Sequence[str], cache: Path) -> Built:
    """Build once, then answer from `cache`. Raises BuildError."""
    inputs = [*sorted(KIT.glob("*.[cSh]")), KIT / "kit.ld", *(folder / source for source in sources)]
    inputs += sorted(path for path in folder.glob("*.h"))
    digest = hashlib.sha256(f"{name}\n{_compiler()}\n{FLAGS}".encode())
    for path in inputs:
        try:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        except OSError as error:
            raise BuildError(f"{path}: {error.strerror}", hint="is the file named in case.toml's sources?") from error
    done = cache / digest.hexdigest()[:32]
    if not (done / "built.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as temporary:
            _build(name, folder, sources, Path(temporary))
            try:
                Path(temporary).rename(done)
            except OSError:
                if not (done / "built.json").exists():  # else another run was faster, with the same result
                    raise
            Path(temporary).mkdir(exist_ok=True)
    record = msgspec.json.decode((done / "built.json").read_bytes(), type=_Record)
    return Built(image=done / "disk.img", sha256=record.sha256, checks=record.checks)


def select_checks(image: bytes, indices: Sequence[int]) -> bytes:
    """The image with only these checks switched on. Raises BuildError when it has no parameter block, or several."""
    if image.count(MAGIC) != 1:
        raise BuildError("the image has no parameter block", hint="only cases built with the kit can run a selection")
    if any(not 0 <= index < BITMAP_BYTES * 8 for index in indices):
        raise BuildError(f"a check's number is not below {BITMAP_BYTES * 8}")
    bitmap = bytearray(BITMAP_BYTES)
    for index in indices:
        bitmap[index // 8] |= 1 << index % 8
    start = image.index(MAGIC) + BITMAP_OFFSET
    return image[:start] + bytes(bitmap) + image[start + BITMAP_BYTES :]


def _build(name: str, folder: Path, sources: Sequence[str], out: Path) -> None:
    objects = []
    for path in [*sorted(KIT.glob("*.S")), *sorted(KIT.glob("*.c")), *(folder / source for source in sources)]:
        target = out / f"{len(objects)}-{path.name}.o"
        # Compiled in its own folder, by its bare name: no path of this machine gets into the image.
        _tool(["gcc", *FLAGS, f'-DCASE_NAME="{name}"', f"-I{KIT}", "-c", path.name, "-o", str(target)], path.parent)
        objects.append(target.name)
    _tool(["ld", "-m", "elf_i386", "--build-id=none", "-T", str(KIT / "kit.ld"), "-o", "case.elf", *objects], out)
    _tool(["objcopy", "-O", "binary", "-R", ".difftest.checks", "case.elf", "disk.img"], out)
    _tool(["objcopy", "-O", "binary", "--dump-section", ".difftest.checks=checks", "case.elf", "discarded"], out)
    image = out / "disk.img"
    os.truncate(image, whole_cylinders(image.stat().st_size))
    for name_ in (*objects, "discarded"):
        (out / name_).unlink(missing_ok=True)
    lines = (out / "checks").read_bytes().replace(b"\0", b"").decode().splitlines()
    checks = tuple(About(check=fields[0], sdm=fields[1], summary=fields[2]) for fields in (line.split("\x1f") for line in lines))
    if len({about.check for about in checks}) != len(checks):
        raise BuildError(f"{folder}: two checks have one id")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    (out / "built.json").write_bytes(msgspec.json.encode(_Record(sha256=digest, checks=checks)))


def _tool(argv: list[str], folder: Path) -> str:
    if shutil.which(argv[0]) is None:
        raise BuildError(f"{argv[0]} is missing", hint="apt-get install gcc binutils")
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode:
        raise BuildError(f"{argv[0]} failed:\n{done.stderr[-4000:]}", hint="mend the source and run again")
    return done.stdout


def _compiler() -> str:
    return _tool(["gcc", "--version"], Path("/")).partition("\n")[0]
