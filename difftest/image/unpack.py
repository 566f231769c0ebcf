"""Unpacking images: compressed ones, and those in a virtual machine's format. Whatever comes out is bounded."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from difftest.errors import CaseError, HostError
from difftest.image.kind import Kind

LARGEST_UNPACKED = 2 << 30
_CHUNK = 1 << 20
_SECONDS = 600
_DECOMPRESSORS = {
    Kind.XZ: ["xz", "--memlimit=512MiB", "-dc"],
    Kind.GZIP: ["gzip", "-dc"],
    Kind.BZIP2: ["bzip2", "-dc"],
    Kind.ZSTD: ["zstd", "--memory=512MiB", "-dc"],
}


def unpack(source: Path, kind: Kind, target: Path) -> None:
    """Write what is packed in `source` to `target`, with holes where it is zero. Raises CaseError and OSError."""
    if kind in _DECOMPRESSORS:
        _decompress(_DECOMPRESSORS[kind], source, target)
    else:
        _convert(kind, source, target)


def _decompress(command: list[str], source: Path, target: Path) -> None:
    if shutil.which(command[0]) is None:
        raise HostError(
            f"{source}: {command[0]} is missing", hint=f"apt-get install {command[0].replace('xz', 'xz-utils')}"
        )
    with contextlib.ExitStack() as stack:
        packed = stack.enter_context(source.open("rb"))
        file = stack.enter_context(target.open("wb"))
        pipe = subprocess.PIPE
        process = stack.enter_context(subprocess.Popen(command, stdin=packed, stdout=pipe, stderr=pipe))
        assert process.stdout is not None and process.stderr is not None
        stack.callback(process.kill)  # of no effect when it has come to its end
        size = 0
        while chunk := process.stdout.read(_CHUNK):
            size += len(chunk)
            if size > LARGEST_UNPACKED:
                raise CaseError(
                    f"{source}: unpacks to more than {LARGEST_UNPACKED} bytes", hint="unpack it yourself first"
                )
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), 1)
            else:
                file.write(chunk)
        file.truncate(size)
        words = process.stderr.read().decode(errors="replace").strip()
        process.wait()
    if process.returncode:
        raise CaseError(f"{source}: cannot be unpacked: {words[:2000]}", hint="is the file whole?")


def _convert(kind: Kind, source: Path, target: Path) -> None:
    """By qemu-img. A file that names others than those beside it could have any file of this host copied in."""
    said = _qemu_img(source, "info", "--output=json", "-f", kind, str(source.absolute()))
    try:
        info = msgspec.json.decode(said, type=dict[str, Any])
        size = int(info["virtual-size"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(f"{source}: qemu-img does not know what is in it") from error
    if size > LARGEST_UNPACKED:
        raise CaseError(f"{source}: unpacks to more than {LARGEST_UNPACKED} bytes", hint="convert it yourself first")
    specific = info.get("format-specific", {}).get("data", {})
    parts = [Path(str(extent.get("filename", ""))).resolve() for extent in specific.get("extents", [])]
    elsewhere = any(part.parent != source.resolve().parent or not part.is_file() for part in parts)
    if elsewhere or any("backing-filename" in key for key in info) or specific.get("data-file"):
        raise CaseError(f"{source}: it refers to other files", hint="make one file of it: qemu-img convert -O raw")
    _qemu_img(source, "convert", "-f", kind, "-O", "raw", str(source.absolute()), str(target))


def _qemu_img(source: Path, *arguments: str) -> bytes:
    if shutil.which("qemu-img") is None:
        raise HostError(f"{source}: qemu-img is missing", hint="apt-get install qemu-utils")
    try:
        done = subprocess.run(["qemu-img", *arguments], capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CaseError(f"{source}: qemu-img did not come to an end") from error
    if done.returncode:
        raise CaseError(
            f"{source}: cannot be unpacked: {done.stderr[:2000].decode(errors='replace').strip()}",
            hint="is the file whole?",
        )
    return done.stdout
