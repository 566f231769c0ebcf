"""Versions of what a run tested: out of the targets' identities, in words, and in their order."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A Debian version's epoch, and what its packagers put after the upstream version.
PACKAGING = re.compile(r"^\d+:|(?:\+dfsg|\+ds)?-[^-]*$")
NUMBER = re.compile(r"\d{1,18}")


def upstream(version: str) -> str:
    """A package's version without what its packagers added; what begins with no digit stays."""
    return PACKAGING.sub("", version) if version[:1].isdigit() else version


def kernel(identity: Mapping[str, str]) -> str:
    """The kernel under test, or "". A package's version says more than the release that `uname -r` gives, and a build
    of the user's has only its path.
    """
    if package := identity.get("kernel package"):
        return package.rpartition(" ")[2]
    return identity.get("kernel", "")


def subject_version(identity: Mapping[str, str]) -> str:
    """What of a subject is under test, in words: its kernel, or without one its QEMU."""
    if version := kernel(identity):
        return f"Linux {upstream(version)}"
    return f"QEMU {upstream(identity['qemu'])}" if "qemu" in identity else ""


def reference_version(identity: Mapping[str, str]) -> str:
    return f"Bochs {upstream(identity['bochs'])}" if "bochs" in identity else ""


def order(version: str) -> tuple[str, tuple[int, ...], bool, str]:
    """A key that sorts versions in words: by name, then by numbers, a release candidate before its release."""
    name, _, rest = version.partition(" ")
    numbers = tuple(int(number) for number in NUMBER.findall(rest.partition("-rc")[0])[:8])
    return name, numbers, "-rc" not in rest, version
