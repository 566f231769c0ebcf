"""Instructions of the image around a place, disassembled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import capstone

from difftest.image.check_code import BOOT_SECTOR, LOADED_AT
from difftest.tracing.story import StepKind, StoryStep

BEFORE, AFTER = 4, 4  # instructions
LONGEST = 15  # bytes of an instruction
MODES = {32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64, 16: capstone.CS_MODE_16}


def bits_of(step: StoryStep) -> int:
    """The operand and address size of code at which an instruction of a trace reads as Bochs has read it."""
    name = step.words.split(" ")[0]
    for bits in MODES:
        found = next(_decoded(step.code, step.rip or 0, bits), None)
        if found is not None and found.size == len(step.code) and found.mnemonic.split(" ")[-1][:3] == name[:3]:
            return bits
    return 32


def code_around(image: bytes, rip: int, steps: Sequence[StoryStep]) -> list[str]:
    """Lines of disassembly, the place itself marked. The bytes before it are those that Bochs executed, where it came
    this way; those after it are the image's.
    """
    traced = [step for step in steps if step.kind is StepKind.INSTRUCTION]
    at = next((at for at in range(len(traced) - 1, -1, -1) if traced[at].rip == rip), None)
    bits = bits_of(traced[at]) if at is not None else 32
    lines = []
    for step in traced[max(0, at - BEFORE) : at] if at is not None else []:
        lines += [_line(one, "  ") for one in _decoded(step.code, step.rip or 0, bits)][:1]
    start = BOOT_SECTOR + rip - LOADED_AT
    data = image[start : start + (AFTER + 1) * LONGEST] if BOOT_SECTOR <= start < len(image) else b""
    if not data and at is not None:
        data = traced[at].code
    for number, one in enumerate(_decoded(data, rip, bits)):
        if number > AFTER:
            break
        lines.append(_line(one, "  " if number else "=>"))
    return lines


def _decoded(data: bytes, address: int, bits: int) -> Iterator[Any]:
    yield from capstone.Cs(capstone.CS_ARCH_X86, MODES[bits]).disasm(data, address)


def _line(one: Any, mark: str) -> str:
    return f"{mark} {one.address:#010x}  {one.bytes.hex():22} {one.mnemonic} {one.op_str}".rstrip()
