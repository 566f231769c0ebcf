"""A side of a sweep without an emulator: it answers with what the model of the SDM allows, changed by a test."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np

from difftest.sweeping.engine import SweepSide
from difftest.sweeping.generate import vectors
from difftest.sweeping.image import ASKED, BLOCK, DATA, HEAD, MAGIC, MOST_ASKED, Mode, SweepImage
from difftest.sweeping.model import expect
from difftest.sweeping.outcomes import DIED, STATUS, digests, mixed
from difftest.sweeping.table import WORDS
from difftest.sweeping.vectors import LAYOUT, U64, Pattern, VectorFacts, Vectors, unpacked
from emulators.host.errors import Progress
from emulators.observation import Boot, Ending, Observation
from emulators.ram_log import RamLog
from emulators.target import Session, Target

FACTS = VectorFacts(cr4_supported=0x1627FF, efer_supported=0xD01, physical_address_bits=39)
Change = Callable[[Vectors, U64], None]  # edits the rows of vectors in place; DIED as the status ends the machine


def image(folder: Path) -> SweepImage:
    folder.mkdir(parents=True, exist_ok=True)
    data = MAGIC + bytes(HEAD.size - len(MAGIC)) + ASKED + bytes(LAYOUT.size * MOST_ASKED)
    return SweepImage(data=data, folder=folder, ram_log=RamLog(address=0x600000, most=0x7FFEC))


class ModelTarget(Target):
    """`loses`: a vector that ends the machine takes the guest's memory with it. `crashes`: how many first boots end
    with the emulator.
    """

    implementation = "KVM"

    def __init__(self, name: str, change: Change | None = None, *, loses: bool = False, crashes: int = 0) -> None:
        self.name = name
        self.change = change
        self.loses = loses
        self.crashes = crashes
        self.boots = 0

    def identity(self) -> dict[str, str]:
        return {"name": self.name}

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        del boots, progress
        yield self

    async def boot(self, boot: Boot) -> Observation:
        self.boots += 1
        said, ending = self._log(boot.image.read_bytes())
        if self.boots <= self.crashes:
            said, ending = b"", Ending.QUIET
        return Observation(
            target=self.name, identity={}, image_sha256="", image_sha256_after="", ending=ending, detail="",
            ram_log=said,
        )  # fmt: skip

    def _log(self, data: bytes) -> tuple[bytes, Ending]:
        fields = HEAD.unpack_from(data)
        _, _, mode, family, count, seed, first, cr4, cr4_less, efer, efer_less, bits, packed, patterns, _ = fields
        facts = VectorFacts(cr4, efer, bits, cr4_less, efer_less)
        begin = (
            b"sweep 1 cr4=%#x efer=%#x bits=%d\n"
            % (FACTS.cr4_supported, FACTS.efer_supported, FACTS.physical_address_bits)
            + DATA
        )
        if mode == Mode.FACTS:
            return begin, Ending.FINISHED
        if mode == Mode.DIGESTS:
            ran = vectors(family, seed, first, count, facts)
        else:
            ran, facts = unpacked(data[HEAD.size : HEAD.size + LAYOUT.size * count]), FACTS
        rows = expect(family, ran, facts).rows.copy()
        if self.change:
            self.change(ran, rows)
        for at in range(patterns):
            rows[_pattern(packed, at).fits(ran)] = 0
        dead = np.flatnonzero(rows[:, STATUS] == DIED)
        rows = rows[: dead[0]] if len(dead) else rows
        ending = Ending.FINISHED if not len(dead) else Ending.INTERNAL_ERROR if self.loses else Ending.TRIPLE_FAULT
        if len(dead) and self.loses:
            return b"", ending
        if mode == Mode.OUTCOMES:
            return begin + rows.astype("<u8").tobytes(), ending
        return begin + _digests(rows, count), ending


def side(name: str, folder: Path, change: Change | None = None, **options: bool | int) -> SweepSide:
    target = ModelTarget(name, change, **options)  # type: ignore[arg-type]
    return SweepSide(name, target, image(folder / name), lambda line: None)


def _pattern(packed: bytes, at: int) -> Pattern:
    layout = struct.Struct(f"<II{2 * WORDS}Q")
    base, op, *words = layout.unpack_from(packed, layout.size * at)
    return Pattern(base, op, words[:WORDS], words[WORDS:])


def _digests(rows: U64, count: int) -> bytes:
    sums, said = digests(rows), b""
    for first in range(0, len(rows), BLOCK):
        block = sums[first : first + BLOCK]
        said += bytes((block >> np.uint64(56)).astype(np.uint8).tolist())
        if len(block) == BLOCK or first + len(block) == count:
            total = np.zeros(1, dtype=np.uint64)
            for one in block:
                total = mixed(total, one)
            said += total.astype("<u8").tobytes()
    return said
