"""The table that the generator in the image and the one here share: vectors.toml, and the C header made of it.

python -m difftest.sweeping.table > cases/lib/vector_table.h
"""

from __future__ import annotations

from pathlib import Path

import msgspec

WORDS = 9  # of a vector: struct vector in cases/lib/vector.h
UNPAGED, UNPAGED_PAE, UNPAGED_LME, UNPAGED_LONG, BITS_32, PAE, COMPATIBILITY, BITS_64 = range(8)  # base states


class Base(msgspec.Struct, frozen=True):
    """A state that vectors start from: the bits that it has."""

    name: str
    cr0: list[str]
    cr4: list[str] = []
    efer: list[str] = []


class Table(msgspec.Struct, frozen=True):
    """vectors.toml."""

    version: int
    words: dict[str, list[str]]
    families: dict[str, int]
    ops: dict[str, int]
    cr0: dict[str, int]
    cr4: dict[str, int]
    efer: dict[str, int]
    free: dict[str, list[str]]
    base: list[Base]

    def bits(self, register: str, names: list[str] | None = None) -> int:
        """The bits of a register that have these names; all that have one when none are given."""
        places: dict[str, int] = getattr(self, register)
        return sum(1 << places[name] for name in (places if names is None else names))

    def state(self, base: int) -> tuple[int, int, int]:
        """CR0, CR4 and IA32_EFER of a base state, LMA left out."""
        one = self.base[base]
        return self.bits("cr0", one.cr0), self.bits("cr4", one.cr4), self.bits("efer", one.efer)


TABLE = msgspec.toml.decode(Path(__file__).with_name("vectors.toml").read_bytes(), type=Table)


def header() -> str:
    """vector_table.h."""
    lines = [
        "/* Generated from difftest/sweeping/vectors.toml by difftest.sweeping.table: edit that. */",
        "#pragma once",
        "",
        f"#define VECTOR_VERSION {TABLE.version}",
        "",
    ]
    for title, numbers in (("FAMILY", TABLE.families), ("OP", TABLE.ops)):
        names = ", ".join(f"{title}_{_macro(name)} = {number}" for name, number in numbers.items())
        lines.append(f"enum {{ {names} }};" if len(names) < 105 else _wrapped(names))
    lines.append("")
    for register in ("cr0", "cr4", "efer"):
        lines.append(f"#define DEFINED_{register.upper()} {TABLE.bits(register):#x}u")
        lines.append(f"#define FREE_{register.upper()} {TABLE.bits(register, TABLE.free[register]):#x}u")
    lines += ["", "/* CR0, CR4 and IA32_EFER of each base state. */", "#define VECTOR_BASES \\"]
    for number, base in enumerate(TABLE.base):
        state = ", ".join(f"{value:#x}u" for value in TABLE.state(number))
        lines.append(f"    {{ {state} }}, /* {base.name} */ \\")
    lines[-1] = lines[-1].removesuffix(" \\")
    bases = [f"BASE_{_macro(base.name)} = {number}" for number, base in enumerate(TABLE.base)]
    lines += ["", _wrapped(", ".join(bases))]
    return "\n".join(lines) + "\n"


def _macro(name: str) -> str:
    return name.replace(", ", "_").replace("-", "_").replace(" ", "_").upper()


def _wrapped(names: str) -> str:
    return "enum {\n" + "".join(f"    {name},\n" for name in names.split(", ")) + "};"


if __name__ == "__main__":
    print(header(), end="")
