"""Regular expressions of case manifests. What they search is printed by guests: both are somebody else's, so that each
expression has a limit on its length and on the CPU time that it may take.

Python's own `re` backtracks for as long as it takes and lets no signal through meanwhile.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from emulators.host.errors import ExpressionError

if TYPE_CHECKING:
    import regex

LONGEST = 1000  # characters of an expression
SECONDS = 2.0  # of CPU time for all that one Expression searches
LEAST = 0.001  # seconds; the library takes 0 for no limit
Said = str | bytes | bytearray


class Expression:
    """An expression in the syntax of the `regex` package, a superset of Python's, for text and for bytes."""

    def __init__(self, text: str, *, multiline: bool = False) -> None:
        self.text = text
        self._flags = re.MULTILINE if multiline else 0
        self._compiled: dict[bool, regex.Pattern[str] | regex.Pattern[bytes]] = {}  # by whether it is for bytes
        self._left = SECONDS

    def check(self) -> None:
        """Raises ExpressionError when it is too long, or does not compile."""
        if len(self.text) > LONGEST:
            raise ExpressionError(f"longer than {LONGEST} characters")
        self._pattern(of_bytes=False)
        self._pattern(of_bytes=True)

    def search(self, said: Said, start: int = 0) -> bool:
        """Whether it matches anywhere from `start` on. Raises ExpressionError when it has taken too long."""
        pattern = self._pattern(of_bytes=not isinstance(said, str))
        begun = time.thread_time()
        try:
            return pattern.search(said, start, timeout=max(LEAST, self._left)) is not None  # type: ignore[arg-type]
        except TimeoutError as error:
            raise self._too_slow() from error
        finally:
            self._left -= time.thread_time() - begun

    def masked(self, text: str) -> str:
        """The text with "#" for each match. Raises ExpressionError when it has taken too long."""
        pattern = self._pattern(of_bytes=False)
        begun = time.thread_time()
        try:
            return pattern.sub("#", text, timeout=max(LEAST, self._left))  # type: ignore[arg-type,return-value]
        except TimeoutError as error:
            raise self._too_slow() from error
        finally:
            self._left -= time.thread_time() - begun

    def _pattern(self, *, of_bytes: bool) -> regex.Pattern[str] | regex.Pattern[bytes]:
        import regex

        if of_bytes not in self._compiled:
            try:
                self._compiled[of_bytes] = (
                    regex.compile(self.text.encode(), self._flags)
                    if of_bytes
                    else regex.compile(self.text, self._flags)
                )
            except (regex.error, RecursionError, OverflowError, UnicodeEncodeError) as error:
                raise ExpressionError(f"no regular expression: {error}") from error
        return self._compiled[of_bytes]

    def _too_slow(self) -> ExpressionError:
        return ExpressionError(f"{self.text[:80]!r} takes more than {SECONDS:g} s on what the guest printed")
