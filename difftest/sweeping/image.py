"""The image of a sweep: built with the kit, told by its parameters which vectors to run, and read back.

    16 bytes   DIFFTEST-SWEEP., a zero
    u32        version, 1
    u32        mode: 0 say the facts, 1 digests of vectors by number, 2 outcomes of the vectors below
    u32, u32   family, number of vectors
    u64, u64   seed, number of the first vector
    5 u64      the facts: CR4 bits supported, excluded, IA32_EFER bits supported, excluded, physical-address bits
    8 times    a pattern of vectors that are not run: u32 base, u32 op, 9 u64 masks, 9 u64 values
    u32, u32   how many of the patterns count, 0

The vectors asked for in full lie in the image where its first of them, a base state of 0xFFFFFFFF, is found.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from difftest.atomic import write
from difftest.errors import BuildError
from difftest.image.build import build_case
from difftest.image.parameter_block import params_of
from difftest.sweeping.table import WORDS
from difftest.sweeping.vectors import U64, Pattern, VectorFacts, Vectors
from emulators.observation import Boot, Limits, Machine, Observation
from emulators.ram_log import RamLog

GUEST = Path(__file__).with_name("guest")
MAGIC = b"DIFFTEST-SWEEP.\0"
VERSION = 1
MOST_SKIPPED = 8  # patterns
HEAD = struct.Struct(f"<16sIIIIQQ5Q{MOST_SKIPPED * (8 + 16 * WORDS)}sII")
ASKED = struct.pack(f"<II{WORDS}Q", 0xFFFFFFFF, *[0] * (WORDS + 1))
MOST_ASKED = 1024
BLOCK = 256
MOST_IN_A_BOOT = 1 << 18  # the RAM log has room for a byte of each and eight of each block
OUTCOME_WORDS = 8
END = "^Halt: condition .*\\n"
DATA = b"sweep data\n"
QUIET, TOTAL = 60.0, 900.0  # seconds
_NUMBERS = itertools.count()
SAID = re.compile(rb"^sweep 1 cr4=0x([0-9a-f]+) efer=0x([0-9a-f]+) bits=([0-9]+)$", re.MULTILINE)
SKIPPED = re.compile(rb'^difftest 1 check sweep SKIP reason="([^"]{1,200})"', re.MULTILINE)


class Mode(enum.IntEnum):
    FACTS = 0
    DIGESTS = 1
    OUTCOMES = 2


class SweepImage(msgspec.Struct, frozen=True):
    """The image, built; to be given its parameters."""

    data: bytes
    folder: Path
    ram_log: RamLog

    def boot(
        self,
        mode: Mode,
        family: int = 0,
        seed: int = 0,
        first: int = 0,
        count: int = 0,
        facts: VectorFacts | None = None,
        asked: Vectors | None = None,
        skipped: Sequence[Pattern] = (),
    ) -> Boot:
        """A boot of it with these parameters. Vectors that fit one of the first patterns of `skipped` are not run."""
        patterns = skipped[:MOST_SKIPPED]
        shared = facts or VectorFacts(0, 0, 0)
        head = HEAD.pack(
            MAGIC, VERSION, mode, family, count if asked is None else len(asked), seed, first,
            shared.cr4_supported, shared.cr4_excluded, shared.efer_supported, shared.efer_excluded,
            shared.physical_address_bits,
            b"".join(pattern.packed() for pattern in patterns), len(patterns), 0,
        )  # fmt: skip
        at = self.data.index(MAGIC)
        changed = self.data[:at] + head + self.data[at + HEAD.size :]
        if asked is not None:
            place, packed = changed.index(ASKED), asked.packed()
            if len(asked) > MOST_ASKED:
                raise ValueError(f"{len(asked)} vectors are more than {MOST_ASKED}")
            changed = changed[:place] + packed + changed[place + len(packed) :]
        digest = hashlib.sha256(changed).hexdigest()
        path = self.folder / f"sweep-{next(_NUMBERS)}.img"  # two sides may boot the same bytes at once
        write(path, changed)
        return Boot(
            image=path,
            image_sha256=digest,
            machine=Machine(memory_mib=64),
            limits=Limits(quiet=QUIET, total=TOTAL),
            ram_log=self.ram_log,
            end=END,
        )


class Digests(msgspec.Struct, frozen=True):
    """What a boot left of a range of vectors: a byte of each that was run, eight bytes of each block that was ended."""

    bytes_: bytes
    blocks: U64

    @property
    def done(self) -> int:
        return len(self.bytes_)


def build(cache: Path, folder: Path) -> SweepImage:
    """Build the image; copies with parameters go into `folder`. Raises BuildError."""
    built = build_case("sweep", GUEST, ["sweep.c"], cache / "built")
    data = built.image.read_bytes()
    if data.count(MAGIC) != 1 or data.count(ASKED) != 1:
        raise BuildError("the image of a sweep has no place for its parameters")
    params = msgspec.structs.replace(params_of(data), in_ram=True)
    return SweepImage(data=params.put_into(data), folder=folder, ram_log=params.ram_log)


def facts_of(observation: Observation) -> VectorFacts | None:
    """What the CPU said that it supports; None where it did not come to that."""
    said = SAID.search(observation.ram_log)
    if said is None:
        return None
    return VectorFacts(
        cr4_supported=int(said[1], 16), efer_supported=int(said[2], 16), physical_address_bits=int(said[3])
    )


def why_skipped(observation: Observation) -> str:
    """Why the CPU cannot run vectors; "" where it can."""
    said = SKIPPED.search(observation.ram_log)
    return said[1].decode(errors="replace") if said else ""


def digests_of(observation: Observation, count: int) -> Digests:
    """Of a boot that was to run `count` vectors."""
    _, found, data = observation.ram_log.partition(DATA)
    bytes_, blocks = bytearray(), []
    at = 0
    while found and at < len(data) and len(bytes_) < count:
        size = min(BLOCK, count - len(bytes_), len(data) - at)
        bytes_ += data[at : at + size]
        at += size
        if len(bytes_) % BLOCK == 0 or len(bytes_) == count:
            if at + 8 > len(data):
                break
            blocks.append(int.from_bytes(data[at : at + 8], "little"))
            at += 8
    return Digests(bytes_=bytes(bytes_), blocks=np.array(blocks, dtype=np.uint64))


def outcomes_of(observation: Observation, count: int) -> U64:
    """A row of words for each vector that was asked for and run."""
    _, _, data = observation.ram_log.partition(DATA)
    size = 8 * OUTCOME_WORDS
    rows = min(count, len(data) // size)
    return np.frombuffer(data[: rows * size], dtype="<u8").reshape(rows, OUTCOME_WORDS).astype(np.uint64)
