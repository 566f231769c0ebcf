"""A suite made of what others wrote: kvm-unit-tests built beside its checkout, or a folder of images with a list."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from difftest.authoring.image_list import LIST, listed
from difftest.authoring.kvm_unit_tests import cases as kut
from difftest.authoring.kvm_unit_tests.build import BITS, TEST_DEVICE, build
from difftest.authoring.kvm_unit_tests.config import parse
from difftest.authoring.scaffold import new_case_folder, rendered
from difftest.case.case import MANIFEST, load
from difftest.case.manifest import Manifest
from difftest.case.suite import SUITE, Suite
from difftest.errors import BuildError, CaseError
from difftest.text import visible

CONFIG = Path("x86/unittests.cfg")
DONE = [
    "fw_cfg is not asked: the number of CPUs and the memory are given in a module, as the suite allows it.",
    "Resetting the local APIC leaves IA32_APIC_BASE.EN set while in xAPIC mode, and images start in xAPIC mode: Bochs "
    "never gives back an APIC whose EN was cleared. A test that clears EN itself does so.",
    "Lines are left in RAM instead of sent to COM1, and an image ends with its exit status and HLT.",
    f"{TEST_DEVICE} is on no target: what fails in an image that uses it is skipped.",
    "MSRs that Bochs lacks read as zero there, but in images that test just that: these raise #GP, and Bochs is given "
    "the few that CPUID promises.",
]


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: cases to be booted, those that are skipped with the reasons, and what did not build."""

    folder: Path
    cases: int
    skipped: dict[str, str]
    failed: list[str]


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    manifest: Manifest
    files: dict[str, Path | str]  # by name in the case's folder: a file to copy, or text


def add_suite(source: Path, folder: Path | None, archs: Sequence[str], say: Callable[[str], None]) -> Added:
    """Make the suite's folder. Raises CaseError, BuildError and HostError; no folder is left then."""
    source = source.absolute()
    target = folder or Path(f"{_named(source.name)}-suite")
    if (source / CONFIG).is_file() and (source / "configure").is_file():
        with tempfile.TemporaryDirectory(prefix="difftest-suite-") as name:
            made, failed = _kvm_unit_tests(source, Path(name), archs, say)
            suite = Suite(name=target.name, source=str(source), revision=_revision(source), done=DONE)
            return _written(target, suite, made, failed)
    if (source / LIST).is_file():
        made = [_Case(manifest=one, files=files) for one, files in listed(source)]
        return _written(target, Suite(name=target.name, source=str(source)), made, [])
    raise CaseError(
        f"{source}: no suite that difftest knows",
        hint=f"a checkout of kvm-unit-tests, or a folder of images with a list, {LIST} (docs/suites.md)",
    )


def _kvm_unit_tests(
    source: Path, folder: Path, archs: Sequence[str], say: Callable[[str], None]
) -> tuple[list[_Case], list[str]]:
    if strange := [arch for arch in archs if arch not in BITS]:
        raise CaseError(f"kvm-unit-tests is not built for {strange[0]}", hint=f"one of {', '.join(BITS)}")
    try:
        entries = parse((source / CONFIG).read_text(errors="replace"))
    except CaseError as error:
        raise CaseError(f"{source / CONFIG}: {error}") from error
    made: list[_Case] = []
    failed: list[str] = []
    for arch in archs:
        say(f"building {source.name} for {arch}")
        images, said = build(source, folder / arch, arch)
        wanted = {entry.file for entry in entries if entry.arch in ("", arch)}
        for name in sorted(wanted - images.keys()):
            wrong = re.compile(rf"\b{re.escape(Path(name).stem)}\.\w+:.*error")
            words = next(filter(wrong.search, said.splitlines()), "")
            failed.append(f"{name} ({arch}): {visible(words, 200) or 'not built'}")
        made += [
            _Case(
                manifest=one.manifest,
                files={one.manifest.image: one.image.path, **dict.fromkeys(one.manifest.modules, one.environment)},
            )
            for one in kut.cases(entries, images, arch)
        ]
    if not made:
        raise BuildError(f"{source}: none of its tests was built", hint="; ".join(failed[:3]))
    return made, failed


def _written(target: Path, suite: Suite, cases: Sequence[_Case], failed: list[str]) -> Added:
    with new_case_folder(target) as filled:
        for case in cases:
            place = filled / case.manifest.name
            place.mkdir()
            for name, content in case.files.items():
                if isinstance(content, str):
                    (place / name).write_text(content)
                else:
                    shutil.copyfile(content, place / name)
            text = rendered("suite_case.toml.jinja", suite=suite.name, manifest=_keys(case.manifest), toml=_toml)
            (place / MANIFEST).write_text(text)
            load(place)  # judged by the same rules as any manifest
        (filled / SUITE).write_text(rendered("suite.toml.jinja", suite=suite, folder=visible(str(target)), toml=_toml))
    skipped = {case.manifest.name: case.manifest.skipped for case in cases if case.manifest.skipped}
    return Added(folder=target, cases=len(cases) - len(skipped), skipped=skipped, failed=failed)


def _keys(manifest: Manifest) -> dict[str, object]:
    return msgspec.structs.asdict(manifest)


def _named(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "suite"


def _revision(checkout: Path) -> str:
    """The checkout's commit, "" where git does not say."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return visible(done.stdout.strip(), 60) if done.returncode == 0 else ""


def _toml(value: object) -> str:
    """A string, a list of strings or a table of strings as TOML has it."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(key)} = {json.dumps(one, ensure_ascii=False)}" for key, one in value.items())
        return f"{{ {pairs} }}"
    return json.dumps(value, ensure_ascii=False)
