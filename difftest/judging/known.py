"""Which `[[known]]` entry of a manifest covers a result."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence

from difftest.case.manifest import KnownDivergence
from difftest.judging.result import Result, Side
from difftest.verdict import Status, Verdict
from emulators.host.expression import Expression

RANGES = ("kernels", "bochs", "host_bochs")  # keys of an entry that are ranges of versions
BOOLEANS = {"N": "0", "Y": "1"}  # a module's parameter as the kernel prints it, and as it takes it


def applying(
    known: Iterable[KnownDivergence], check: str, target: str, versions: Mapping[str, str]
) -> list[KnownDivergence]:
    """The entries that speak of this check, this subject, these versions, by the keys of the version ranges, and these
    parameters of KVM's modules, by `kvm_param`.
    """
    return [
        one
        for one in known
        if check in one.checks
        and (not one.targets or target in one.targets)
        and all(within(getattr(one, key), versions[key]) for key in RANGES if key in versions)
        and runs_with(one.kvm_param, versions.get("kvm_param", ""))
    ]


def runs_with(wanted: Sequence[str], there: str) -> bool:
    """Whether KVM's modules run with all of these parameters, "ept=0" or "kvm.NAME=VALUE". `there` has those that an
    identity holds, as "kvm_intel.ept=N ...". What is not known is not run with.
    """
    values = dict(word.split("=", 1) for word in there.split() if "=" in word)
    for one in wanted:
        name, _, value = one.partition("=")
        given = values.get(name if "." in name else f"kvm_intel.{name}")
        if given is None or BOOLEANS.get(given, given) != BOOLEANS.get(value, value):
            return False
    return True


def covers(known: KnownDivergence, result: Result) -> bool:
    """Whether an entry foresaw this result: its verdict, and what the wrong side showed."""
    return known.verdict == result.verdict and describes(known, result)


def describes(known: KnownDivergence, result: Result) -> bool:
    """Whether the wrong side of a result shows what an entry says, whatever the verdict."""
    side = covered_side(result)
    if (side.status == Status.DIED) != known.died:
        return False
    # A field that is compared in one kind of exit and free in another is there twice.
    values = {field.name: field.values[side.target] for field in result.fields if side.target in field.values}
    for name, wanted in known.match.items():
        if values.get(name) not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return matches(known, [result.reason])


def covered_side(result: Result) -> Side:
    """The side whose values an entry speaks of: the one that is wrong, the subject where both are or none is named."""
    return result.reference if result.verdict == Verdict.REFERENCE_WRONG else result.subject


def matches(known: KnownDivergence, reasons: Sequence[str]) -> bool:
    """Whether an entry's pattern, if it has one, is found in each of these texts."""
    return not known.pattern or all(map(Expression(known.pattern).search, reasons))


@functools.cache
def within(specifiers: str, version: str) -> bool:
    """Whether the numbers that `version` begins with lie in a range. "" is the range of all; a version that is not
    known lies in no other.
    """
    if not specifiers:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        number = re.match(r"\d+(\.\d+)*", version)
        return number is not None and SpecifierSet(specifiers).contains(Version(number.group()))
    except (InvalidSpecifier, InvalidVersion):
        return False
