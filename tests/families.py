"""Booting a bundled case's image, as it is or with its sources edited, and reading what its checks say."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from difftest.case.case import Case, load
from difftest.image.build import KIT, BuiltImage, build_case
from difftest.image.parameter_block import select_checks
from difftest.reading.record import Record, parse
from emulators.bochs.target import Bochs
from emulators.host.files import sha256
from emulators.observation import Boot, Ending, Limits, Machine
from emulators.target import Target

Edit = tuple[str, str, str]  # file, what stands there once, what shall stand there


def case_called(name: str) -> Case:
    return load(KIT.parent / name)


def built(case: Case, cache: Path, edits: Sequence[Edit] = ()) -> BuiltImage:
    """The case's image; with edits, one of changed sources."""
    folder = case.folder
    if edits:
        folder = cache / "edited"
        shutil.copytree(case.folder, folder)
        for name, old, new in edits:
            text = (folder / name).read_text()
            assert text.count(old) == 1, (name, old)
            (folder / name).write_text(text.replace(old, new))
    return build_case(case.name, folder, case.manifest.sources, cache / "built")


async def records(
    case: Case, image: BuiltImage, target: Target | None = None, only: Sequence[str] | None = None
) -> Mapping[str, Record]:
    """Boot the image (with only these checks) and return what each check said. The boot must end in order."""
    path = image.image
    if only is not None:
        numbers = [number for number, about in enumerate(image.checks) if about.check in only]
        path = path.with_name(f"only-{len(only)}.img")
        path.write_bytes(select_checks(image.image.read_bytes(), numbers))
    boot = Boot(
        image=path,
        image_sha256=sha256(path),
        machine=Machine(memory_mib=case.manifest.memory_mib),
        limits=Limits(quiet=20, total=60),
        end=case.manifest.end,
    )
    async with (target or Bochs()).session([boot], lambda line: None) as session:
        observation = await session.boot(boot)
    assert observation.ending == Ending.FINISHED, observation.detail
    assert not observation.alarms
    transcript = parse(observation.serial)
    assert transcript.complete and not transcript.problems
    return transcript.records


async def assert_no_check_depends_on_another(case: Case, image: BuiltImage, target: Target | None = None) -> None:
    """All checks in one boot say what they say in boots of every other one."""
    ids = [about.check for about in image.checks]
    together = await records(case, image, target)
    apart: dict[str, Record] = {}
    for offset in (0, 1):
        apart |= await records(case, image, target, only=ids[offset::2])
    assert {check: (record.status, record.fields) for check, record in apart.items()} == {
        check: (record.status, record.fields) for check, record in together.items()
    }


def statuses(told: Mapping[str, Record]) -> dict[str, str]:
    return {check: record.status for check, record in told.items()}


def known_on_bochs(case: Case) -> set[str]:
    """The checks that the manifest says Bochs fails."""
    wrong = [known for known in case.manifest.known if known.verdict in ("reference-wrong", "shared", "both-wrong")]
    return {check for known in wrong for check in known.checks}


def wrong_on_tcg(case: Case) -> set[str]:
    """The checks that the manifest says TCG fails."""
    wrong = [known for known in case.manifest.known if known.verdict == "subject-wrong" and "tcg" in known.targets]
    return {check for known in wrong for check in known.checks}


def matching(patterns: Iterable[str], ids: Iterable[str]) -> set[str]:
    """The ids that the patterns choose, in their order; one that begins with "!" takes its matches away again."""
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("!"):
            chosen -= {check for check in ids if fnmatch(check, pattern[1:])}
        else:
            chosen |= {check for check in ids if fnmatch(check, pattern)}
    return chosen
