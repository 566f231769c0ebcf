"""The machine-readable lines that bundled cases print on the serial port or leave in their RAM log, parsed.

    difftest 1 case=<name>
    difftest 1 cpu name=value ...
    difftest 1 start <check>
    difftest 1 check <check> <PASS|FAIL|OPEN|SKIP> key=value ...
    difftest 1 problem <check> "<words>"
    difftest 1 ends <check> <outcome>
    difftest 1 end checks=<n>

Keys: `name=` a raw field, compared between the sides; `must.name=` what the SDM requires of it; `free.name=` recorded
only. A `problem` is a fault of the check, such as more fields than a record holds, and no verdict comes from that boot.
`ends` says that the machine must end in this check, and how: "shutdown".
The guest is not trusted: a line that does not parse to the end is reported as a problem, never guessed.
"""

from __future__ import annotations

import re

import msgspec

from difftest.reading.suite import SuiteOutput, parse_suite
from difftest.text import visible
from difftest.verdict import Status
from emulators.observation import Observation

MAX_LINE = 8192
MAX_RECORDS = 4096

_CHECK = re.compile(r"difftest 1 check ([\w.:/+-]{1,120}) (PASS|FAIL|OPEN|SKIP)((?: .*)?)")
_START = re.compile(r"difftest 1 start ([\w.:/+-]{1,120})")
_ENDS = re.compile(r"difftest 1 ends ([\w.:/+-]{1,120}) (shutdown)")
_END = re.compile(r"difftest 1 end checks=(\d{1,6})")
_PROBLEM = re.compile(r'difftest 1 problem ([\w.:/+-]{1,120}) "([^"\\]{1,400})"')
_CPU = re.compile(r"difftest 1 cpu((?: [a-z][a-z0-9_]{0,60}=0x[0-9a-f]{1,16}){1,40})")
_PAIR = re.compile(r' (?:(must|free)\.)?([a-z][a-z0-9_]{0,60})=(0x[0-9a-f]{1,32}|[\w.+/:-]{1,120}|"[^"\\]{0,400}")')


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One check as the image reported it. Values are printable ASCII without quotes."""

    check: str
    status: Status  # PASS, FAIL, OPEN or SKIP
    fields: dict[str, str] = {}
    required: dict[str, str] = {}
    free: dict[str, str] = {}
    own: bool = False  # a result of the image's own tests, which need not speak of the SDM

    @property
    def reason(self) -> str:
        return self.fields.get("reason", "")

    def broken(self) -> list[str]:
        """The fields whose value is not the required one."""
        return [name for name, value in self.required.items() if self.fields.get(name) != value]


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What a serial transcript says."""

    records: dict[str, Record] = {}
    started: list[str] = []
    ends: list[str] = []  # the checks that require the CPU to enter shutdown
    suite: SuiteOutput = SuiteOutput()  # results in free text, where there are no records
    cpu: dict[str, str] = {}  # what the CPU said of itself: signature, maxphyaddr, ia32_vmx_basic ... Never compared
    complete: bool = False  # the end line was there and its count was right
    terminal_line: str = ""  # the last line that is not blank, safe to show
    spoken: bytes = b""  # the same as it came
    problems: list[str] = []

    @property
    def speaks(self) -> bool:
        """Whether the image prints records, or results in lines."""
        return bool(self.records or self.started or self.suite.lines)

    def died_in(self) -> str | None:
        """The check that was started last and never reported, if any."""
        if not self.started or self.suite.closed:
            return None
        return self.started[-1] if self.started[-1] not in self.records else None

    @property
    def reported(self) -> set[str]:
        """The checks that came to their end: those with a record, and tests with lines of their own."""
        return {*self.records, *self.suite.sections} - {self.died_in()}

    def must_end(self) -> bool:
        """Whether the check that never reported requires the CPU to enter shutdown."""
        return self.died_in() in self.ends


def transcript_of(observation: Observation) -> Transcript:
    """What the image said in one boot."""
    return parse(observation.words, observation.debug)


def parse(serial: bytes, debug: bytes = b"") -> Transcript:
    """What an image said on COM1, or in its RAM log, or else on port 0xE9. Never raises: `problems` say what is
    wrong.
    """
    said = _parse(serial)
    if said.speaks or not debug.strip():
        return said
    other = _parse(debug)
    if other.speaks or not said.terminal_line:
        return other
    return said


def _parse(serial: bytes) -> Transcript:
    records: dict[str, Record] = {}
    started: list[str] = []
    ends: list[str] = []
    cpu: dict[str, str] = {}
    problems: list[str] = []
    counted: int | None = None
    lines = [line.rstrip(b"\r") for line in serial.split(b"\n")]
    for line in lines:
        if not line.startswith(b"difftest 1 "):
            continue
        text = line[:MAX_LINE].decode("ascii", errors="replace")
        if len(line) > MAX_LINE or len(records) >= MAX_RECORDS:
            problems.append(f"too long, or too many records: {visible(text, 80)}")
        elif match := _CHECK.fullmatch(text):
            record = _record(match)
            if record is None:
                problems.append(f"malformed record: {visible(text, 200)}")
            elif record.check in records:
                problems.append(f"second record of {record.check}")
            else:
                records[record.check] = record
        elif match := _PROBLEM.fullmatch(text):
            problems.append(f"the check {match.group(1)} is faulty: {visible(match.group(2), 400)}")
        elif match := _START.fullmatch(text):
            started.append(match.group(1))
        elif match := _ENDS.fullmatch(text):
            ends.append(match.group(1))
        elif match := _CPU.fullmatch(text):
            cpu |= dict(pair.split("=") for pair in match.group(1).split())
        elif match := _END.fullmatch(text):
            counted = int(match.group(1))
        elif not text.startswith("difftest 1 case="):
            problems.append(f"unknown line: {visible(text, 200)}")
    if counted is not None and counted != len(records):
        problems.append(f"the image says it reported {counted} checks, {len(records)} were read")
    spoken = next((line for line in reversed(lines) if line.strip()), b"")
    suite = (
        SuiteOutput()
        if records or started
        else parse_suite([line[:MAX_LINE].decode(errors="backslashreplace") for line in lines])
    )
    return Transcript(
        records=records,
        started=started or suite.sections,
        ends=ends,
        suite=suite,
        cpu=cpu,
        complete=counted is not None and counted == len(records),
        terminal_line=visible(spoken, 400),
        spoken=spoken,
        problems=[*problems[:20], *suite.problems],
    )


def _record(match: re.Match[str]) -> Record | None:
    """The record of a check line, or None when its pairs do not parse to the end or a key is there twice."""
    kinds: dict[str, dict[str, str]] = {"": {}, "must": {}, "free": {}}
    parsed, tail = 0, match.group(3)
    for prefix, name, value in _PAIR.findall(tail):
        parsed += len(f" {prefix}={name}{value}") + bool(prefix)  # the dot after it
        kind, value = kinds[prefix], value.strip('"')
        if name in kind or (value and not value.isprintable()):
            return None
        kind[name] = value
    if parsed != len(tail):  # something was between them
        return None
    return Record(
        check=match.group(1),
        status=Status(match.group(2)),
        fields=kinds[""],
        required=kinds["must"],
        free=kinds["free"],
    )
