"""One fault: a place in a function of KVM's sources, and what it becomes. Pure: works on text alone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

FAULTS = Path(__file__).with_name("faults.toml")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault as faults.toml has it."""

    id: str
    area: str  # the family of checks that ought to find it
    file: str  # below arch/x86/kvm
    function: str  # its name as the definition has it: FNAME(...) included
    anchor: str  # occurs once in the function
    becomes: str
    says: str  # what is wrong then, in a sentence
    equivalent: str = ""  # why nothing can notice it

    @property
    def key(self) -> str:
        """Changes with whatever makes the fault another one."""
        return hashlib.sha256("\0".join((self.file, self.function, self.anchor, self.becomes)).encode()).hexdigest()


class UnfitError(Exception):
    """The anchor does not fit the sources: they are of another version."""


class _Faults(msgspec.Struct, forbid_unknown_fields=True):
    fault: list[Fault]


def load(path: Path = FAULTS) -> list[Fault]:
    """All faults, in the file's order. Raises msgspec.DecodeError or ValueError when two have one id."""
    faults = msgspec.toml.decode(path.read_bytes(), type=_Faults).fault
    if len({fault.id for fault in faults}) != len(faults):
        raise ValueError(f"{path}: two faults have one id")
    return faults


def planted(text: str, fault: Fault) -> str:
    """The file's text with the fault in it. Raises UnfitError unless function and anchor are there exactly once."""
    start, end = _body(text, fault)
    body = text[start:end]
    if body.count(fault.anchor) != 1:
        raise UnfitError(
            f"{fault.id}: {fault.function}() has {fault.anchor!r} {body.count(fault.anchor)} times, not once"
        )
    return text[:start] + body.replace(fault.anchor, fault.becomes) + text[end:]


def _body(text: str, fault: Fault) -> tuple[int, int]:
    """Where the function's definition begins and ends: it starts in the first column and ends with a brace there."""
    head = rf"^[A-Za-z_][^\n;]*(?<![\w]){re.escape(fault.function)}\(|^{re.escape(fault.function)}\("
    bodies = []
    for match in re.finditer(head, text, re.MULTILINE):
        brace, semicolon = text.find("\n{", match.start()), text.find(";", match.start())
        if 0 <= brace < semicolon:  # a definition, not a prototype
            bodies.append((match.start(), text.find("\n}", brace)))
    if len(bodies) != 1:
        raise UnfitError(f"{fault.id}: {fault.file} defines {fault.function}() {len(bodies)} times, not once")
    return bodies[0]
