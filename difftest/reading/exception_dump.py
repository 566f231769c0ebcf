"""The dump with which a guest's own code reports an exception that it did not expect: its heading and error code."""

from __future__ import annotations

import re

from difftest.text import visible

LONGEST = 200  # characters of a dump that are compared
_TAIL = 64 << 10  # bytes at the end of a transcript that are searched
_LINES = 40  # of a dump: as far from the end its heading may be
_HEADING = re.compile(
    rb"\b(?:unhandled|unexpected|uncaught|fatal)\b.{0,80}\b(?:exception|trap|fault|interrupt)\b"
    rb"|\b(?:exception|trap|fault)\b.{0,40}#[A-Z]{2}\b"
    rb"|^\W*(?:general protection fault|double fault|page fault|invalid opcode|invalid tss|stack fault)\b"
    rb".*(?:0x|:|\bat\b|\b[er]?ip\b)",
    re.IGNORECASE,
)
_RESULT = re.compile(rb"(?:pass|fail|x?fail|xpass|skip|ok|not ok|summary)\b", re.IGNORECASE)  # a line of a suite
_ERROR_CODE = re.compile(rb"\berr(?:or)?[ _]?(?:code)?\s*[=:]\s*(?:0x)?([0-9a-f]{1,16})\b", re.IGNORECASE)


def exception_dump(transcript: bytes) -> str:
    """The heading of the dump that a transcript ends with, with the error code where one follows it; "" where it ends
    otherwise.
    """
    lines = [line.strip() for line in transcript[-_TAIL:].splitlines() if line.strip()]
    last = lines[-_LINES:]
    for number in reversed(range(len(last))):
        if _HEADING.search(last[number]) and not _RESULT.match(last[number]):
            heading = visible(last[number], LONGEST)
            code = next(filter(None, map(_ERROR_CODE.search, last[number + 1 : number + 4])), None)
            return heading if code is None else f"{heading}; error code {code[1].decode().lower()}"
    return ""
