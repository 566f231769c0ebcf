"""What a `case.toml` may say, and what of it cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import msgspec

from difftest.errors import CaseError
from difftest.text import visible
from difftest.verdict import Verdict
from emulators.host.errors import ExpressionError
from emulators.host.expression import Expression

NAME = r"[a-z0-9][\w.-]{0,80}"  # of a case
MOST_SECONDS = 86_400  # that a boot may take
LONGEST_RANGE = 200  # characters of a range of versions
PLAIN_RANGE = re.compile(r" *(==|!=|<=|>=|<|>) *\d{1,9}(\.\d{1,9}){0,5} *")  # for all others `packaging` is loaded
KIT_MIB = 8  # where the kit has its data and its RAM log: see kit.ld
IMAGE = "image"  # the check id of what is compared for an image as a whole: how it ended, terminal line, rows 20-23
EMULATOR = "emulator"  # the check id of what the reference's emulator gave up on while it ran the image
HOST_EMULATOR = "host-emulator"  # the check id of the same of the emulator that is the CPU under the subject
HOST_KERNEL = "host-kernel"  # the check id of a WARN, BUG or oops in the log of the kernel under test
OF_LOGS = (EMULATOR, HOST_EMULATOR, HOST_KERNEL)  # found in logs, whatever the guest saw


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a check without booting it."""

    check: str
    sdm: str = ""
    summary: str = ""


class KnownDivergence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A divergence that the case's manifest says is known: `[[known]]` in case.toml.

    It covers a result only if that shows what the entry says: the values of `match`, the `pattern` in its reason, and,
    with `died`, the end of the guest.
    """

    case: str = ""  # in a suite's known.toml: the case that it holds for
    check: str | list[str]  # one check's id, or several that diverge alike
    verdict: Verdict
    reason: str
    link: str = ""
    reference_reason: str = ""  # of both-wrong: why the reference is wrong, where `reason` says it of the subject alone
    reference_link: str = ""
    targets: list[str] = []  # subjects it holds for; empty: all
    kernels: str = ""  # versions of the kernel it holds for, as a PEP 440 specifier set (">=5.10,<8"); empty: all
    bochs: str = ""  # the same of the reference Bochs
    host_bochs: str = ""  # the same of the Bochs that hosts KVM
    kvm_param: list[str] = []  # it holds only where KVM's modules run with all of these: "ept=0", "kvm.halt_poll_ns=0"
    match: dict[str, str | list[str]] = {}  # fields of the wrong side and their values, or one of several values each
    pattern: str = ""  # regular expression that the result's reason must contain
    died: bool = False  # the guest ends, or hangs, in the check

    def cause(self, *, of_reference: bool) -> tuple[str, str]:
        """Why a side is wrong, and where that was reported; "" where the entry does not say so of that side."""
        if self.verdict == Verdict.BOTH_WRONG and of_reference:
            return self.reference_reason, self.reference_link
        return self.reason, self.link

    @property
    def checks(self) -> list[str]:
        return [self.check] if isinstance(self.check, str) else self.check


class AbsentRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the catalogue that belongs to this case but is no check of it, and why."""

    id: str
    reason: str


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What running or reading showed about a row of the catalogue: a suspicion's end, or how well its SDM wording is
    known.
    """

    id: str
    text: str


class MachineRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks that need another emulated CPU than the one that all else runs on: `[[machine]]` in case.toml."""

    checks: list[str]  # patterns, as for --check
    emulated_cpu: str  # a CPU model of Bochs


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `case.toml` may say. See docs/case.md for each key."""

    name: str
    title: str = ""
    description: str = ""
    groups: list[str] = []
    sources: list[str] = []  # C and assembly, built with the kit; or
    image: str = ""  # a disk, a CD or a multiboot kernel, beside the manifest
    medium: Literal["", "disk", "cdrom", "floppy"] = ""  # what the image is, where it could be several
    command_line: str = ""  # of a multiboot kernel, without its name
    modules: list[str] = []  # of a multiboot kernel: files beside the manifest, each with the words after its name
    second_image: str = ""  # a second disk
    parameters: bool = False  # the image has a parameter block: its lines are left in RAM, and `tests` can be chosen
    tests: dict[str, int] = {}  # tests of the image by name, and the number of each in the parameter block
    absent_devices: list[str] = []  # that the image uses, and no target has
    skipped: str = ""  # why the case is not booted
    needs: list[str] = []  # capabilities, as a target names them
    memory_mib: int = 256
    cpus: int = 1
    cpu_models: dict[str, str] = {}
    machine: list[MachineRule] = []
    ignore_msrs: bool = False  # MSRs that the CPU lacks read as zero under KVM, as they do under Bochs
    faulting_msrs: bool = False  # MSRs that the CPU lacks raise #GP under Bochs, too
    end: str = ""  # regular expression of the terminal marker on COM1 or port 0xE9
    end_screen: str = ""  # regular expression: what a silent image shows when it has come to its end, such as a prompt
    right: str = ""  # regular expression: a terminal line, or one of rows 20 to 23, that shows what the SDM requires
    wrong: str = ""  # regular expression: the same for one that shows that it was broken
    volatile: list[str] = []  # regular expressions of what varies from boot to boot in names of results and in lines
    quiet_seconds: float = 20.0
    total_seconds: float = 120.0
    known: list[KnownDivergence] = []
    absent: list[AbsentRow] = []
    note: list[Note] = []


def check(manifest: Manifest, folder: Path, path: Path) -> None:
    """What the types cannot say. Raises CaseError."""
    if not re.fullmatch(NAME, manifest.name):
        raise CaseError(f"{path}: name {manifest.name!r} is not lower-case letters, digits, dots and dashes")
    numbers = list(manifest.tests.values())
    if manifest.sources and (manifest.parameters or numbers):
        raise CaseError(f"{path}: parameters and tests are an image's, not that of sources")
    if numbers and (not manifest.parameters or len(set(numbers)) < len(numbers) or not min(numbers) >= 0):
        raise CaseError(f"{path}: tests need parameters = true, and a number of its own for each, from 0")
    if bool(manifest.sources) == bool(manifest.image):
        raise CaseError(f"{path}: give either sources or image")
    if manifest.sources and (manifest.command_line or manifest.modules or manifest.medium):
        raise CaseError(f"{path}: medium, command_line and modules are an image's, not that of sources")
    for name in files_of(manifest):
        _check_file(name, folder, path)
    check_expressions(manifest, str(path))
    for model in (*manifest.cpu_models.values(), *(machine.emulated_cpu for machine in manifest.machine)):
        if not re.fullmatch(r"[\w.,+=-]{1,200}", model, re.ASCII):
            raise CaseError(f"{path}: {model!r} is no CPU model")
    if not 1 <= manifest.memory_mib <= 2048 or not 1 <= manifest.cpus <= 8:
        raise CaseError(f"{path}: memory_mib must be 1 to 2048 and cpus 1 to 8")
    if manifest.sources and manifest.memory_mib < KIT_MIB:
        raise CaseError(f"{path}: images of the kit take {KIT_MIB} MiB, memory_mib is {manifest.memory_mib}")
    if not all(0 < seconds <= MOST_SECONDS for seconds in (manifest.quiet_seconds, manifest.total_seconds)):
        raise CaseError(f"{path}: quiet_seconds and total_seconds must be above 0, and at most {MOST_SECONDS}")
    for known in manifest.known:
        check_known(known, path)


def check_expressions(manifest: Manifest, where: str) -> None:
    """Raises CaseError for a regular expression that cannot be used."""
    expressions = [(key, getattr(manifest, key)) for key in ("end", "end_screen", "right", "wrong")]
    for key, expression in [*expressions, *(("volatile", one) for one in manifest.volatile)]:
        _check_expression(expression, f"{where}: {key}")


def _check_expression(expression: str, where: str) -> None:
    try:
        Expression(expression).check()
    except ExpressionError as error:
        raise CaseError(f"{where}: {error}") from error


def check_known(known: KnownDivergence, path: Path) -> None:
    """Raises CaseError for an entry that does not say what it covers, with one that does."""
    where = f"{path}: [[known]] entry of {', '.join(known.checks)}"
    _check_expression(known.pattern, f"{where}: pattern")
    for one in known.kvm_param:
        if not re.fullmatch(r"(kvm\.|kvm_intel\.)?[a-z0-9_]{1,60}=[\w-]{1,60}", one, re.ASCII):
            raise CaseError(f"{where}: {visible(repr(one), 100)} is no module parameter", hint='such as "ept=0"')
    for key in ("kernels", "bochs", "host_bochs"):
        _check_range(getattr(known, key), f"{where}: {key}")
    in_logs = any(check in OF_LOGS for check in known.checks)
    if known.pattern or (not in_logs and (known.match or known.died)):
        return
    what = ", ".join(known.checks)
    wanted = "pattern" if in_logs else "match, pattern or died"
    example = 'pattern = "what the reason contains"' if wanted == "pattern" else 'match = { vector = "0xd" }'
    raise CaseError(
        f"{path}: the [[known]] entry of {what} covers whatever the check shows: it has no {wanted}",
        hint=f"`difftest accept` writes it from a run; by hand:\n{as_toml(known)}{example}",
    )


def as_toml(known: KnownDivergence) -> str:
    """An entry as TOML, without what says nothing. JSON's strings are TOML's, where no control character is in them."""
    lines = ["[[known]]"]
    for name, value in msgspec.to_builtins(known).items():
        if isinstance(value, list) and value:
            lines.append(f"{name} = {_value(value)}")
        elif isinstance(value, dict) and value:
            pairs = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items())
            lines.append(f"{name} = {{ {pairs} }}")
        elif isinstance(value, bool) and value:
            lines.append(f"{name} = true")
        elif isinstance(value, str) and value:
            lines.append(f"{name} = {_string(value)}")
    return "\n".join(lines) + "\n"


def _value(value: str | list[str]) -> str:
    return _string(value) if isinstance(value, str) else f"[{', '.join(_string(one) for one in value)}]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _string(name)


def _string(text: str) -> str:
    return json.dumps(visible(text, 2000), ensure_ascii=False)


def files_of(manifest: Manifest) -> list[str]:
    """The names of all files that a manifest names."""
    modules = [module.partition(" ")[0] for module in manifest.modules]
    return [name for name in (*manifest.sources, manifest.image, manifest.second_image, *modules) if name]


def _check_file(name: str, folder: Path, path: Path) -> None:
    if Path(name).name.startswith("-"):  # the compiler would take it for an option
        raise CaseError(f"{path}: {visible(name, 100)} begins with a dash")
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, or links in a circle
        raise CaseError(f"{path}: {visible(repr(name), 100)} is no name of a file") from error
    if not inside:
        raise CaseError(f"{path}: {visible(name, 100)} leads out of the case's folder")


def _check_range(versions: str, where: str) -> None:
    if not versions or all(map(PLAIN_RANGE.fullmatch, versions.split(","))):
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(versions if len(versions) <= LONGEST_RANGE else "too long")
    except InvalidSpecifier as error:
        hint = 'a range of versions, such as ">=5.10,<8"'
        raise CaseError(f"{where}: {visible(repr(versions), 100)} is no range of versions", hint=hint) from error
