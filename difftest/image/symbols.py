"""Names for what a log of VM exits has as numbers: the checks of an image, and addresses in its code."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from pathlib import Path

from difftest.errors import BuildError
from difftest.image.prepare import PreparedCase
from emulators.host.errors import EmulatorError
from emulators.host.tools import ran

ELF = "case.elf"  # beside the image; see build.py
KIT_BEGINS = 0x10000  # kit.ld; below are the boot sector and copies of real-mode code
MOST_PLACES = 5000
_SYMBOL = re.compile(r" *\d+: ([0-9a-f]{8,16}) +\d+ (\w+) +(\w+) +\w+ +(\w+) ([\w.$-]{1,120})")
_ADDRESS = re.compile(rb"^(?:-|\d+) L[12] \d+ \S+ 0x([0-9a-f]{1,16}) ", re.MULTILINE)
_CLONE = re.compile(r"\.(?:constprop|part|isra|cold)\b.*")
_OBJECT = re.compile(r"^\d+-|\.o$")  # what build.py adds to the name of a source in assembly


def with_names(log: bytes, prepared: PreparedCase) -> bytes:
    """A log of VM exits (docs/formats.md) with the names of the checks after it, and of each place in the image's code
    that is in it: the function or label there. One that is local to its file has the file's name before it.

    Unchanged where the image was not built here.
    """
    checks = zip(prepared.numbers, prepared.abouts, strict=True)
    names = [f"check {number} {about.check}\n" for number, about in checks]
    symbols = _symbols(prepared.image.with_name(ELF)) if names else []
    starts = [address for address, _ in symbols]
    for address in sorted({int(found, 16) for found in _ADDRESS.findall(log)})[:MOST_PLACES]:
        at = bisect.bisect_right(starts, address) - 1
        if at >= 0 and address < starts[-1]:
            names.append(f"place {address:#x} {symbols[at][1]}\n")
    return log + "".join(names).encode()


def address_of(elf: Path, name: str) -> int:
    """The address of a function or label of an image that was built here. Raises BuildError when it has none."""
    found = next((address for address, symbol in _symbols(elf) if symbol == name), None)
    if found is None:
        raise BuildError(
            f"{elf} has no symbol {name}", hint="build the case again: difftest cache --clear --everything"
        )
    return found


def symbols_of(elf: Path) -> dict[int, str]:
    """All functions and labels of an image that was built here, by address."""
    return dict(_symbols(elf))


def places(elf: Path) -> Callable[[int], str]:
    """A function that names what an address lies in: a function or label, and how far behind its beginning."""
    symbols = _symbols(elf)
    starts = [address for address, _ in symbols]

    def place(address: int) -> str:
        at = bisect.bisect_right(starts, address) - 1
        if at < 0 or address >= starts[-1]:
            return ""
        offset = address - starts[at]
        return symbols[at][1] + (f"+{offset:#x}" if offset else "")

    return place


def _symbols(elf: Path) -> list[tuple[int, str]]:
    """The functions and labels of the kit's code and the case's by address."""
    try:
        said = ran(["readelf", "-sW", elf]).stdout.decode(errors="replace")
    except EmulatorError:
        return []
    found: dict[int, str] = {}
    file = ""
    for line in said.splitlines():
        if (match := _SYMBOL.fullmatch(line)) is None:
            continue
        address, kind, binding, section, name = int(match[1], 16), *match.groups()[1:]
        if kind == "FILE":
            file = _OBJECT.sub("", name)
        elif kind in ("FUNC", "NOTYPE") and section.isdigit() and address >= KIT_BEGINS:
            local = f"{file}:" if binding == "LOCAL" else ""
            # A function's own name rather than a label's at the same place.
            if address not in found or kind == "FUNC":
                found[address] = local + _CLONE.sub("", name)
    return sorted(found.items())
