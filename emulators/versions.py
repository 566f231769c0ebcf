"""What of the targets the command line chooses: a kernel, emulators, CPU models. One row for each option.

Constructors of targets, options, headings of tables and the commands in reports are made from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

# What was asked for, by the names of the options. None is the same as no entry: what this host's distribution has.
Versions = Mapping[str, str | None]


class VersionOption(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to choose. `targets` are the names of those whose constructors take it, under this name."""

    name: str
    help: str
    targets: tuple[str, ...]
    otherwise: str = ""  # the option whose value they get where this one is not given
    identity: str  # the key of their identities that it changes
    heading: str  # of a run's column in a table of several runs; {} is the value in the identity

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


VERSION_OPTIONS = [
    VersionOption(
        name="kernel",
        help="Kernel of kvm-hosted: a version or its beginning (`difftest kernels` lists them), a .deb, a build tree, "
        "a folder with a bzImage and its modules, or one with kvm.ko and kvm-intel.ko alone.",
        targets=("kvm-hosted",),
        identity="kernel",
        heading="Linux {}",
    ),
    VersionOption(
        name="bochs",
        help="The reference: a version of Bochs or its beginning, or a program's path.",
        targets=("bochs",),
        identity="bochs",
        heading="Bochs {}",
    ),
    VersionOption(
        name="host_bochs",
        help="The Bochs that hosts KVM for kvm-hosted, chosen in the same ways.",
        targets=("kvm-hosted",),
        identity="hosting bochs",
        heading="in Bochs {}",
    ),
    VersionOption(
        name="qemu",
        help="The QEMU of kvm, kvm-hosted and tcg: a program's path.",
        targets=("kvm", "kvm-hosted", "tcg"),
        identity="qemu",
        heading="QEMU {}",
    ),
    VersionOption(
        name="cpu_model",
        help="CPU model of both Bochs: the reference, and the one that hosts KVM for kvm-hosted.",
        targets=("bochs",),
        identity="cpu model",
        heading="reference {}",
    ),
    VersionOption(
        name="host_cpu_model",
        help="CPU model of the Bochs that hosts KVM for kvm-hosted alone, whatever --cpu-model says.",
        targets=("kvm-hosted",),
        otherwise="cpu_model",
        identity="hosting cpu model",
        heading="on {}",
    ),
    VersionOption(
        name="kvm_param",
        help="Parameters of kvm-hosted's KVM modules: ept=0 of kvm_intel, kvm.NAME=VALUE of kvm, several of one run "
        "with a comma between them.",
        targets=("kvm-hosted",),
        identity="asked module parameters",
        heading="{}",
    ),
]


def given(versions: Versions) -> dict[VersionOption, str]:
    """The options that were given, and their values. Raises ValueError for a name that no row has."""
    names = {option.name for option in VERSION_OPTIONS}
    if unknown := set(versions) - names:
        raise ValueError(f"no version option is called {unknown.pop()}; there are {', '.join(sorted(names))}")
    values = {option: versions.get(option.name) for option in VERSION_OPTIONS}
    return {option: value for option, value in values.items() if value is not None}


def arguments(versions: Versions) -> dict[str, str]:
    """What constructors get, by name: values that were given, and those that are taken where one was not. Raises
    ValueError.
    """
    values = {option.name: value for option, value in given(versions).items()}
    taken = {option.name: values[option.otherwise] for option in VERSION_OPTIONS if option.otherwise in values}
    return {**taken, **values}
