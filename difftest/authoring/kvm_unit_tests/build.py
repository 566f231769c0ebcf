"""Builds kvm-unit-tests beside its checkout, which stays as it is, with what lets it run on all targets linked in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from difftest.errors import BuildError, HostError

SOURCES = Path(__file__).parent
BITS = {"x86_64": 64, "i386": 32}
_FLAGS = [
    *["-O1", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-mno-red-zone", "-mno-sse", "-mno-mmx"],
    *["-Wall", "-Wextra", "-Werror"],
]
_TOOLS = {"gcc": "gcc", "ld": "binutils", "make": "make", "objcopy": "binutils"}
_UNFIT_PATH = re.compile(r"[^\w./+~-]")  # characters of a path that make does not take
_LIST = r"^(?:static )?struct \w+ {name}\[\] = \{{(.*?)^\}};"  # the table of tests, which has its source's name
_LISTED = re.compile(r'\bTEST\((\w+)\)|\{\s*"([^"\n]+)"')
# Calls that only the test device of QEMU answers, which Bochs does not have.
_INTERRUPTS = re.compile(r"\bset_irq_line\w*\(")
_DEVICE = re.compile(r"\bIORAM_BASE_PHYS\b|\bTESTDEV_IO_PORT\b|\bpci_testdev\b")
TEST_DEVICE = "pc-testdev"
_REPORT = re.compile(r"\breport(?:_\w+)?\s*\(|\b(?:PASS|FAIL)\b")  # how a test says what it found
_TIME = re.compile(r"\brdtscp?\b")
_ABSENT_MSRS = re.compile(r"#GP on (?:RD|WR)MSR")  # in the names of tests that MSRs are absent
LONGEST_OUTPUT = 4000


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A built image. `tests` are those that it can leave out, in the order of its parameter block's bits."""

    path: Path
    tests: list[str] = []
    parameters: bool = False  # it has a parameter block
    absent: list[str] = []  # devices that its source uses and no target has
    waits: bool = False  # it waits for interrupts of such a device
    only_measures: bool = False  # it reports times, and no test of it passes or fails
    absent_msrs: bool = False  # it tests that MSRs that the CPU lacks raise #GP


def build(checkout: Path, folder: Path, arch: str) -> tuple[dict[str, Image], str]:
    """Build all images of an architecture in `folder`. Gives them by file name, and what did not build, in the
    compiler's words. Raises BuildError and HostError.
    """
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise HostError(f"{tool} is missing", hint=f"apt-get install {package}")
    for path in (checkout, folder):
        if match := _UNFIT_PATH.search(str(path)):
            raise BuildError(f"{path}: make does not take {match.group()!r} in a path", hint="link to it elsewhere")
    folder.mkdir(parents=True)
    for name in ("apic.h", "compile.sh", "link.sh"):
        shutil.copy(SOURCES / name, folder / name)
    for script in folder.glob("*.sh"):
        script.chmod(0o755)
    tests = {source.stem.removesuffix("_tests"): found for source, found in _tests(checkout).items()}
    _compile(folder, arch, "boot.o", [])
    for name, words in tests.items():
        _compile(folder, arch, f"boot-{name}.o", words)
    _run([str(checkout / "configure"), *_options(checkout, folder, arch)], folder)
    said = _run(["make", "-k", f"-j{os.cpu_count()}"], folder, fails=True, sources=str(checkout))
    images: dict[str, Image] = {}
    for flat in sorted((folder / "x86").glob("*.flat")):
        stripped = flat.with_suffix(".stripped")
        _run(["objcopy", "--strip-all", str(flat), str(stripped)], folder)
        parameters = stripped.read_bytes().count(b"DIFFTEST-PARAMS\0") == 1
        source = _text(checkout / "x86" / f"{flat.stem}.c")
        images[flat.name] = Image(
            path=stripped,
            tests=tests.get(flat.stem, []) if parameters else [],
            parameters=parameters,
            absent=[TEST_DEVICE] if _DEVICE.search(source) else [],
            waits=bool(_INTERRUPTS.search(source)),
            only_measures=bool(_TIME.search(source)) and not _REPORT.search(source),
            absent_msrs=bool(_ABSENT_MSRS.search(source)),
        )
    if not images:
        raise BuildError(f"{checkout}: nothing was built for {arch}:\n{said[-LONGEST_OUTPUT:]}")
    return images, said


def _options(checkout: Path, folder: Path, arch: str) -> list[str]:
    """The options of configure, as far as this version of it takes them."""
    known = _run([str(checkout / "configure"), "--help"], folder, fails=True)
    options = [f"--arch={arch}", f"--cc={folder / 'compile.sh'}", f"--ld={folder / 'link.sh'}"]
    return [*options, *(["--disable-werror"] if "werror" in known else [])]


def _compile(folder: Path, arch: str, name: str, tests: Sequence[str]) -> None:
    """boot.c for an image with these tests, which the suite switches off by their names after a dash."""
    excluded = "".join(f'"-{test}",' for test in tests)
    defined = [f"-DTESTS={len(tests)}", f"-DEXCLUDED={excluded}"]
    _run(["gcc", f"-m{BITS[arch]}", *_FLAGS, *defined, "-c", str(SOURCES / "boot.c"), "-o", name], folder)


def _tests(checkout: Path) -> Mapping[Path, list[str]]:
    """The tests that images list in their sources, by source, as they are named on the command line."""
    found: dict[Path, list[str]] = {}
    for source in sorted((checkout / "x86").glob("*_tests.c")):
        table = re.compile(_LIST.format(name=source.stem), re.MULTILINE | re.DOTALL)
        listed = table.search(source.read_text(errors="replace"))
        names = [(one or other).replace(" ", "_") for one, other in _LISTED.findall(listed[1])] if listed else []
        fit = [name for name in dict.fromkeys(names) if re.fullmatch(r"[\w./+-]{1,120}", name, re.ASCII)]
        if fit:
            found[source] = fit
    return found


def _text(source: Path) -> str:
    try:
        return source.read_text(errors="replace")
    except OSError:
        return ""


def _run(argv: Sequence[str], folder: Path, *, fails: bool = False, sources: str = "") -> str:
    """What a program says. Raises BuildError when it fails, unless it may. `sources`: what the names of source files
    begin with and images are not to contain.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "DIFFTEST_SOURCES": sources},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode and not fails:
        raise BuildError(f"{argv[0]} failed:\n{done.stdout[-LONGEST_OUTPUT:]}", hint="is it a checkout of the suite?")
    return done.stdout
