"""Parameters of KVM's modules in the appliance: what was asked for, and what KVM says it runs with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emulators.host.errors import ChoiceError, EmulatorError

MODULES = ("kvm_intel", "kvm")
ONE = re.compile(r"(?:(kvm|kvm_intel)\.)?([a-z0-9_]{1,60})=([A-Za-z0-9_-]{1,60})")
ASKED, ALL, FEATURES = "asked module parameters", "module parameters", "vmx flags"  # keys of an identity
BOOLEANS = {"0": "N", "n": "N", "N": "N", "1": "Y", "y": "Y", "Y": "Y"}  # as the kernel takes and as it prints them


def asked(text: str | None) -> tuple[str, ...]:
    """`--kvm-param`'s value as module parameters of the kernel's command line: "ept=0,kvm.halt_poll_ns=0" is
    ("kvm_intel.ept=0", "kvm.halt_poll_ns=0"). Raises ChoiceError.
    """
    found = []
    for word in text.split(",") if text else ():
        match = ONE.fullmatch(word.strip())
        if match is None:
            raise ChoiceError(
                f"{word.strip()!r} is no module parameter",
                hint="NAME=VALUE of kvm_intel, as ept=0, or kvm.NAME=VALUE; several with a comma between them",
            )
        found.append(f"{match[1] or MODULES[0]}.{match[2]}={match[3]}")
    return tuple(sorted(set(found)))


def running(ready_line: str) -> dict[str, str]:
    """What the appliance's first line says of KVM's parameters, by their full names."""
    match = re.search(r" params=(\S*)", ready_line)
    words = [word.partition("=") for word in match[1].split(",")] if match else []
    return {name: value for name, _, value in words if name}


def identity(ready_line: str) -> dict[str, str]:
    """All parameters of KVM, and the VMX features that Linux sees on its CPU, for an observation's identity."""
    parameters = " ".join(f"{name}={value}" for name, value in sorted(running(ready_line).items()))
    match = re.search(r" vmx=(\S*)", ready_line)
    features = match[1].replace(",", " ") if match else ""
    return {key: value for key, value in ((ALL, parameters), (FEATURES, features)) if value}


def check(wanted: Sequence[str], ready_line: str) -> None:
    """Raise ChoiceError for a parameter that this KVM does not have, EmulatorError for one that it did not take."""
    there = running(ready_line)
    for one in wanted:
        name, _, value = one.partition("=")
        if name not in there:
            module = name.partition(".")[0]
            names = ", ".join(sorted(key.partition(".")[2] for key in there if key.startswith(f"{module}.")))
            raise ChoiceError(f"this kernel's {module} has no parameter {name}", hint=f"it has: {names or 'none'}")
        if same(there[name], value):
            continue
        raise EmulatorError(
            f"{one} was asked for, and KVM runs with {name}={there[name]}",
            hint="KVM refuses what its CPU lacks: another --host-cpu-model may have it",
        )


def same(one: str, other: str) -> bool:
    """Whether two values of a parameter are one: 0 is N, and 1 is Y."""
    return BOOLEANS.get(one, one) == BOOLEANS.get(other, other)
