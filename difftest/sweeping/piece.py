"""A piece of a sweep: one range of vectors on one side, kept on disk when it is done, so that nothing is run twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from difftest.atomic import write
from difftest.sweeping.image import BLOCK


class Stretch(msgspec.Struct, frozen=True):
    """What one boot did of a piece: from vector `first` on. `blocks`: eight bytes of each block that was ended."""

    first: int
    digests: bytes
    blocks: bytes
    skipped: list[int] = []  # numbers of vectors that were not run, as they fit a pattern


class SweepPiece(msgspec.Struct, frozen=True, kw_only=True):
    """`count` vectors from `first` on. `deaths`: the numbers of those that ended the machine, with how. `unrun`: how
    many at its end were not run, for so many deaths.
    """

    family: str
    side: str
    first: int
    count: int
    runs: list[Stretch] = []
    deaths: dict[int, str] = {}
    unrun: int = 0
    seconds: float = 0.0
    instructions: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.family}-{self.first:012d}-{self.count}-{self.side}.piece"

    def bytes_(self) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        """The digest byte of each vector; -1 where it ended the machine, -2 where it was not run, -3 where it was left
        out for a pattern.
        """
        found = np.full(self.count, -2, dtype=np.int16)
        for run in self.runs:
            at = run.first - self.first
            found[at : at + len(run.digests)] = np.frombuffer(run.digests, dtype=np.uint8)
            found[np.array(run.skipped, dtype=np.intp) - self.first] = -3
        for number in self.deaths:
            found[number - self.first] = -1
        return found

    def blocks_of(self, run: Stretch) -> dict[tuple[int, int], bytes]:
        """The eight bytes of each whole block by the numbers of its vectors: first, and one past the last."""
        ends = range(0, len(run.digests), BLOCK)
        spans = [(run.first + at, run.first + min(at + BLOCK, len(run.digests))) for at in ends]
        return {span: run.blocks[8 * at : 8 * at + 8] for at, span in enumerate(spans) if 8 * at < len(run.blocks)}

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / self.name, msgspec.msgpack.encode(self))


def kept(folder: Path) -> dict[tuple[str, int, int, str], SweepPiece]:
    """The pieces in a folder by family, first, count and side."""
    found = {}
    for path in sorted(folder.glob("*.piece")):
        piece = msgspec.msgpack.decode(path.read_bytes(), type=SweepPiece)
        found[piece.family, piece.first, piece.count, piece.side] = piece
    return found


def differing(one: SweepPiece, other: SweepPiece) -> list[int]:
    """The numbers of the vectors that may differ: whose bytes do, and all of a block whose eight bytes differ while
    no byte in it does. Vectors that one side did not run are left out.
    """
    left, right = one.bytes_(), other.bytes_()
    run = (left >= -1) & (right >= -1)
    left_out = set((np.flatnonzero(~run) + one.first).tolist())
    places = set((np.flatnonzero(run & (left != right)) + one.first).tolist())
    for mine in one.runs:
        blocks = one.blocks_of(mine)
        for theirs in other.runs:
            for span, value in other.blocks_of(theirs).items():
                if span in blocks and blocks[span] != value and not (places | left_out) & set(range(*span)):
                    places |= set(range(*span))
    return sorted(places)
