"""The list of tests of kvm-unit-tests, x86/unittests.cfg: sections with `key = value`, values quoted as for a shell."""

from __future__ import annotations

import re
import shlex

import msgspec

from difftest.errors import CaseError
from difftest.text import visible

_SECTION = re.compile(r"\[([^\]\s]+)\]")
_PAIR = re.compile(r"([a-z_]+)\s*=\s*(.*)")
_TRIPLE = '"""'
# The time that tests are given for the clock's: that at which the emulators' clocks start.
_DATE, CLOCK = re.compile(r"`date \+%s`|\$\(date \+%s\)"), "1600000000"
_MEMORY = re.compile(r"(?:size=)?(\d+)([mMgG]?)")
_MIB = {"": 1, "m": 1, "g": 1024}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One section: an image, and the machine that it is to run on.

    `options` are the words of QEMU's command line that are none of the other fields.
    """

    name: str
    file: str
    arguments: str = ""
    cpus: int = 1
    memory_mib: int | None = None
    cpu: str = ""  # the value of -cpu
    arch: str = ""  # "": all
    groups: list[str] = []
    timeout: float | None = None  # seconds
    accel: str = ""
    machine: str = ""
    checks: list[str] = []  # PATH=VALUE of the host that KVM runs on
    disabled_if: str = ""
    options: list[str] = []


def parse(text: str) -> list[Entry]:
    """All sections, in order. Raises CaseError with the line for what cannot be read."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, raw in lines:
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := _SECTION.match(line):
            current = sections.setdefault(match[1], {})
            continue
        pair = _PAIR.fullmatch(line)
        if pair is None or current is None:
            raise CaseError(f"line {number} is neither a section nor KEY = VALUE: {visible(line, 100)}")
        key, value = pair.groups()
        if value.startswith(_TRIPLE):
            value = value.removeprefix(_TRIPLE)
            while not value.rstrip().endswith(_TRIPLE):
                try:
                    value += "\n" + next(lines)[1]
                except StopIteration:
                    raise CaseError(f"line {number}: the quoted value has no end") from None
            value = value.rstrip().removesuffix(_TRIPLE)
        current[key] = value
    return [_entry(name, keys) for name, keys in sections.items() if keys.get("file")]


def _entry(name: str, keys: dict[str, str]) -> Entry:
    options = _words(name, keys.get("qemu_params") or keys.get("extra_params") or keys.get("opts") or "")
    given: dict[str, str] = {}
    others: list[str] = []
    while options:
        word = options.pop(0)
        option = word.removeprefix("-") if word.startswith("-") else ""
        if option in ("cpu", "m", "append", "smp") and options:
            given[option] = options.pop(0)
        elif option == "enable-kvm":
            continue
        else:
            value = options.pop(0) if option and options and not options[0].startswith("-") else ""
            others.append(f"{word} {value}".strip())
    arguments = _words(name, keys.get("test_args", ""))
    return Entry(
        name=name,
        file=_plain(keys["file"]),
        arguments=" ".join([*arguments, *_words(name, given.get("append", ""))]),
        cpus=_number(name, "smp", given.get("smp") or _plain(keys.get("smp", "1"))),
        memory_mib=_memory(name, given["m"]) if "m" in given else None,
        cpu=given.get("cpu", ""),
        arch=_plain(keys.get("arch", "")),
        groups=_plain(keys.get("groups", "")).split(),
        timeout=_seconds(_plain(keys.get("timeout", ""))),
        accel=_plain(keys.get("accel", "")),
        machine=_plain(keys.get("machine", "")),
        checks=_plain(keys.get("check", "")).split(),
        disabled_if=keys.get("disabled_if", ""),
        options=others,
    )


def _words(name: str, value: str) -> list[str]:
    """A value's words, as the suite's shell splits them."""
    try:
        return shlex.split(_DATE.sub(CLOCK, value))
    except ValueError as error:
        raise CaseError(f"[{name}]: {visible(value, 100)}: {error}") from error


def _plain(value: str) -> str:
    return value.strip().strip("\"'")


def _number(name: str, key: str, value: str) -> int:
    """The number of CPUs; one that only the host's number decides is taken as two."""
    if value.isdigit():
        return int(value)
    if "MAX_SMP" in value:
        return 2
    match = re.match(r"(?:cpus=)?(\d+)", value)
    if match is None:
        raise CaseError(f"[{name}]: {key} is no number: {visible(value, 60)}")
    return int(match[1])


def _memory(name: str, value: str) -> int:
    match = _MEMORY.fullmatch(value)
    if match is None:
        raise CaseError(f"[{name}]: -m {visible(value, 60)} is no amount of memory")
    return int(match[1]) * _MIB[match[2].lower()]


def _seconds(value: str) -> float | None:
    """A timeout, as `timeout` of coreutils takes it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else None
