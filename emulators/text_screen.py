"""The 80x25 text screen: what its memory says, and how a screen that can be looked at while the guest runs is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from emulators.host.expression import Expression
from emulators.observation import TEXT_BYTES, TEXT_COLUMNS, TEXT_ROWS

TEXT_ADDRESS = 0xB8000  # of text memory, guest-physical


class Screen(Protocol):
    """The screen of a guest that runs, and goes on running."""

    async def glance(self) -> bytes:
        """A hash of the picture that it shows. Cheap."""
        ...

    async def text(self) -> bytes:
        """Its text memory, TEXT_BYTES bytes. Expensive: asked for when the picture no longer changes."""
        ...


def text_rows(memory: bytes | None) -> list[str]:
    """The 25 rows of text memory, decoded as code page 437, control codes and NUL as blanks. Empty without memory."""
    if memory is None or len(memory) != TEXT_BYTES:
        return []
    cells = "".join(chr(byte) if 32 <= byte < 127 else " " if byte < 32 else _graphic(byte) for byte in memory[::2])
    return [cells[row * TEXT_COLUMNS : (row + 1) * TEXT_COLUMNS].rstrip() for row in range(TEXT_ROWS)]


def screen_matches(rows: Sequence[str], expression: str) -> bool:
    """Whether a regular expression matches the rows of a screen; `^` is the beginning of a row. Raises ExpressionError
    when it takes too long.
    """
    return Expression(expression, multiline=True).search("\n".join(rows))


def _graphic(byte: int) -> str:
    return bytes([byte]).decode("cp437") if byte > 127 else " "
