"""A divergence as a tarball for a bug tracker: the evidence, the text, and a script that shows it again without this
tool.
"""

from __future__ import annotations

import gzip
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
import msgspec

from difftest.atomic import file_name
from difftest.case.case import Case
from difftest.errors import StoreError
from difftest.image.check_code import body_of
from difftest.image.parameter_block import speaking
from difftest.judging.result import Result
from difftest.report.bug import IMAGE_NAME, bug_report
from difftest.report.digest import Pair, SideReport, digest
from difftest.report.environment import environments
from difftest.report.lookup import found, manifest_of
from difftest.report.tarball import tarball
from difftest.report.words import NO_CHECKS, command_line, paragraph, title
from difftest.run.store import StoredRun
from difftest.text import visible
from emulators.observation import Boot
from emulators.standalone import IMAGE as HAND_IMAGE
from emulators.standalone import StandaloneBoot
from emulators.target import Reproducible

SCRIPT = Path(__file__).with_name("rerun.sh.jinja")
QUIET_SECONDS = (
    300  # how long a boot by hand may say nothing: a hosted kernel takes tens of seconds before the guest starts
)


def bundle(run: StoredRun, check: str, targets: Mapping[str, Reproducible], *, carry: bool) -> tuple[str, bytes]:
    """The name of the folder in the tarball, and the tarball.

    `carry` takes along what hosts may lack (see Reproducible.standalone_boot). Raises StoreError for a check that the
    run does not have, EmulatorError when what is to be taken along cannot be built.
    """
    pair, result = found(digest(run), check)
    if pair.case.second_sha256:
        raise StoreError(f"{pair.case.name} has a second disk, which a run does not keep", hint="send its case folder")
    image = speaking(run.image(pair.case))  # by hand there is COM1 only
    files = {IMAGE_NAME: gzip.compress(image, mtime=0), "environment.txt": _environment(run, pair)}
    if result.wrong:
        files["report.txt"] = bug_report(run, f"{result.case}/{result.check}").encode()
    files |= dict(_evidence(pair, result))
    files |= _rerun(pair, result, image, targets, carry)
    name = f"difftest-{file_name(result.case)}-{file_name(result.check)}"
    return name, tarball(name, files)


def _environment(run: StoredRun, pair: Pair) -> bytes:
    names, lines = environments([pair], run.meta)
    rows = [f"host {key}: {value}" for key, value in run.meta.host.items()]
    for line in lines:
        rows.append(f"\n{line.key}" + ("   (differs)" if line.differs else ""))
        rows += [f"    {name}: {value}" for name, value in zip(names, line.values, strict=True) if value]
    return ("\n".join(visible(row, 4000, lines=True) for row in rows) + "\n").encode()


def _evidence(pair: Pair, result: Result) -> Iterator[tuple[str, bytes]]:
    """What each side gave. The transcripts and logs are the bytes as they were, nothing is made visible in them."""
    yield "result.json", msgspec.json.format(msgspec.json.encode(result), indent=1)
    for side in [side.of(result) for side in pair.sides]:
        if side.observation is None:
            continue
        observation, folder = side.observation, file_name(side.names.target)
        yield f"{folder}/serial.bin", observation.serial
        if observation.debug:
            yield f"{folder}/debug.bin", observation.debug
        if observation.ram_log:
            yield f"{folder}/ram-log.bin", observation.ram_log
        yield f"{folder}/record.txt", _record(side, result) + b"\n"
        yield f"{folder}/screen.txt", ("\n".join(side.screen.text) + "\n").encode()
        yield f"{folder}/commands.txt", "".join(f"{command_line(argv)}\n" for argv in observation.commands).encode()
        if observation.screen is not None:
            yield f"{folder}/screen.png", observation.screen
        for name, data in observation.logs.items():
            yield f"{folder}/logs/{file_name(name)}", data


def _record(side: SideReport, result: Result) -> bytes:
    """The line that a side's verdict rests on: the check's record, or the last line of an image that prints none."""
    lines = [line.rstrip(b"\r") for line in side.observation.words.split(b"\n")] if side.observation else []
    if result.check in NO_CHECKS:
        return next((line for line in reversed(lines) if line.strip()), b"")
    return next((line for line in lines if line.startswith(f"difftest 1 check {result.check} ".encode())), b"")


def _rerun(
    pair: Pair, result: Result, image: bytes, targets: Mapping[str, Reproducible], carry: bool
) -> dict[str, bytes]:
    """The script, and the files that it needs beside the image."""
    files: dict[str, bytes] = {}
    sides: list[tuple[str, StandaloneBoot]] = []
    with tempfile.TemporaryDirectory(prefix="difftest-bundle-") as folder:
        path = Path(folder) / HAND_IMAGE
        path.write_bytes(image)
        manifest = manifest_of(pair.case)
        machine = Case(manifest=manifest, folder=path.parent).machine()
        boot = Boot(image=path, image_sha256=pair.case.image_sha256, medium=pair.case.boots_from, machine=machine)
        for side in pair.sides:
            target = targets.get(side.names.target)
            if target and (by_hand := target.standalone_boot(boot, manifest.needs, carry=carry)):
                files |= by_hand.files
                sides.append((file_name(side.names.target), by_hand))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["quoted"] = shlex.quote  # the one way for text into the script
    script = environment.from_string(SCRIPT.read_text(encoding="utf-8")).render(
        title=visible(f"{result.case} / {title(result)}: {result.label}", 300),
        words=visible(paragraph(result), 1000),
        sides=sides,
        check="" if result.check in NO_CHECKS else result.check,
        quiet=QUIET_SECONDS,
        begins=None if result.check in NO_CHECKS else body_of(image, result.check),
    )
    return files | {"rerun.sh": script.encode()}
