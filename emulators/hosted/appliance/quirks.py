"""What is known not to work together: a kernel, the Bochs that hosts it, and that Bochs' CPU model."""

from __future__ import annotations

import re

import msgspec


class Quirk(msgspec.Struct, frozen=True, kw_only=True):
    """A combination that does not come up, and what does. Empty means any."""

    kernels: str = ""  # PEP 440 specifier set of the kernel's version
    bochs: str = ""  # beginning of the version
    model: str = ""
    trouble: str


QUIRKS = (
    Quirk(
        kernels=">=7",
        model="corei7_skylake_x",
        trouble="kernels 7.x oops on the XSAVE sizes of Bochs' corei7_skylake_x; corei7_haswell_4770 works",
    ),
    Quirk(
        bochs="3.1",
        trouble="Linux was seen to panic in hpet_enable on Bochs 3.1 (divide error); 2.7 and 3.0 host KVM",
    ),
)


def known_trouble(release: str, bochs: str, model: str) -> str:
    """What is known to keep this kernel from coming up on this Bochs, or ""."""
    from packaging.specifiers import SpecifierSet

    number = re.match(r"\d+(\.\d+)*", release)
    for quirk in QUIRKS:
        fits_kernel = not quirk.kernels or bool(number and SpecifierSet(quirk.kernels).contains(number.group()))
        if fits_kernel and bochs.startswith(quirk.bochs) and quirk.model in ("", model):
            return quirk.trouble
    return ""
