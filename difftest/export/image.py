"""A case's image as a tarball: the bytes to boot, the command lines of stock programs, and what the image will say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jinja2
import msgspec

from difftest.atomic import file_name
from difftest.errors import CaseError
from difftest.image.check_code import body_of
from difftest.image.parameter_block import speaking
from difftest.image.prepare import PreparedCase
from difftest.report.tarball import tarball
from difftest.text import visible
from emulators.host.scratch import scratch
from emulators.standalone import IMAGE
from emulators.target import NESTED, Target

README = Path(__file__).with_name("readme.txt.jinja")
# What boots the image by hand: targets by name, with the words for a reader.
BY_HAND = {"bochs": "Bochs", "kvm": "QEMU with KVM", "tcg": "QEMU without KVM"}


class _Way(NamedTuple):
    """A way to boot the image by hand."""

    words: str
    script: str
    command: str
    serial: str
    needs: list[str]


def image_archive(prepared: PreparedCase, targets: Mapping[str, Target]) -> tuple[str, bytes]:
    """The name of the folder in the tarball, and the tarball. Raises CaseError for a case with a second disk."""
    case = prepared.case
    if prepared.second is not None:
        raise CaseError(f"{case.name} has a second disk", hint="send its case folder")
    data = speaking(prepared.image.read_bytes())
    files = {IMAGE: data}
    with scratch("export") as folder:
        path = folder / IMAGE
        path.write_bytes(data)
        ways = list(_ways(prepared, path, targets, files))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["begins"] = lambda about: body_of(data, about.check)
    environment.filters["shown"] = lambda text: visible(str(text), 4000)
    files["README"] = (
        environment.from_string(README.read_text(encoding="utf-8"))
        .render(case=case, abouts=prepared.abouts, ways=ways, whole=prepared.whole, end=case.manifest.end)
        .encode()
    )
    for way in ways:
        files[way.script] = (
            f"#!/bin/sh\n# {way.words}; the image's words come to {way.serial}\n{way.command}\n".encode()
        )
    name = archive_name(prepared)
    return f"{name}-image", tarball(f"{name}-image", files)


def archive_name(prepared: PreparedCase) -> str:
    """Of the case, and of its check where it is one."""
    checks = [file_name(about.check) for about in prepared.abouts] if not prepared.whole else []
    return "-".join(["difftest", file_name(prepared.case.name), *(checks[:1] if len(checks) == 1 else [])])


def _ways(prepared: PreparedCase, path: Path, targets: Mapping[str, Target], files: dict[str, bytes]) -> Iterator[_Way]:
    """How to boot the image at `path`; the files that it takes are put to `files`."""
    manifest = prepared.case.manifest
    boot = msgspec.structs.replace(prepared.boot(), image=path, ram_log=None)
    for name, words in BY_HAND.items():
        if name == "tcg" and NESTED & set(manifest.needs):
            continue
        by_hand = targets[name].standalone_boot(boot, manifest.needs, carry=False)
        if by_hand is not None:
            files |= by_hand.files
            needs = [need for _, need in by_hand.needs]
            yield _Way(words, f"{name}.sh", by_hand.command, by_hand.serial, needs)
