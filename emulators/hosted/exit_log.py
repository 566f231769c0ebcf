"""What L0 handled, as a log: KVM's trace events put together to one line for each VM exit.

An exit was L2's when KVM traces `kvm_nested_vmexit` for it as well. `kvm_nested_vmexit_inject` after it says that L0
gave L1 a VM exit, `kvm_inj_exception` that L0 injected an exception. Checks are told apart by the CPUID that images of
the kit execute in L1 where a check starts and where it reports; docs/formats.md has the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from emulators.host.errors import EmulatorError
from emulators.hosted.ring_buffer import Event, Format, events, format_of, lost

PAGES, STATS, PROBLEM, FORMAT = "pages", "stats", "problem", ".format"  # names, or ends of names, of tracefs' files
EXIT, NESTED, INJECT, EXCEPTION, CPUID = (
    "kvm_exit",
    "kvm_nested_vmexit",
    "kvm_nested_vmexit_inject",
    "kvm_inj_exception",
    "kvm_cpuid",
)
EVENTS = (EXIT, NESTED, INJECT, EXCEPTION, CPUID)
# What l0_log.py takes beside them, where the kernel has it.
FURTHER_EVENTS = (
    *("kvm_nested_vmenter", "kvm_nested_vmrun", "kvm_nested_vmenter_failed"),
    *("kvm_page_fault", "kvm_emulate_insn", "kvm_cr"),
)

HEAD = b"difftest exits 1\n"
MOST_LINES = 50_000  # 2 MiB
OUTSIDE = "-"  # in place of the number of a check
MARK = 0x44540000  # EAX of the CPUID of a check; its number is added
MARKS = {1: "start", 2: "report"}  # by ECX
# VMCLEAR to VMWRITE, INVEPT and INVVPID: a check executes them by the hundred in L1 on its way to L2. Where, and with
# which operand, says nothing.
VMX_INSTRUCTIONS = frozenset((*range(19, 26), 50, 53))
BASIC, ENTRY_FAILED = 0xFFFF, 1 << 31  # of an exit reason
EXCEPTION_EXIT, CPUID_EXIT = 0, 10
_NAME = re.compile(r'\{ (\d{1,3}), "(\w{1,40})" \}')  # of an exit reason, in KVM's own way to print it
# Of tracefs' statistics: events that did not fit after the others, and events that are missing anywhere.
_CUT = re.compile(r"^dropped events: (\d{1,15})$", re.MULTILINE)
_LOST = re.compile(r"^(?:commit )?overrun: (\d{1,15})$", re.MULTILINE)


class _OpenExit(msgspec.Struct, kw_only=True):
    """An exit, and what L0 made of it."""

    reason: int
    rip: int
    detail: int  # the exit qualification; of an exception its vector
    nested: bool = False
    passed: int | None = None  # the reason of the exit that L0 gave L1 after it
    injected: list[int] = []

    def line(self, names: Mapping[int, str]) -> str:
        basic = self.reason & BASIC
        place = f"{self.rip:#x} {self.detail:#x}"
        if not self.nested and basic in VMX_INSTRUCTIONS:
            place = "- -"
        words = ["L2" if self.nested else "L1", str(basic), names.get(basic, "?"), place]
        words += ["failed"] if self.reason & ENTRY_FAILED else []
        words += [f"exception={vector}" for vector in self.injected]
        words += [] if self.passed is None else [f"exit={self.passed & BASIC}"]
        return " ".join(words)


def exit_log(files: Mapping[str, bytes]) -> bytes:
    """The log, made of what tracing.py fetches. What keeps it from being made is a line in it, too."""
    if PROBLEM in files:
        return _problem(files[PROBLEM].decode("ascii", "replace").strip())
    try:
        formats = {number: format for number, format in formats_of(files).items() if format.name in EVENTS}
        text = files.get(f"{EXIT}{FORMAT}", b"").decode("ascii", "replace")
        return _log(files.get(PAGES, b""), formats, text, files.get(STATS, b"").decode("ascii", "replace"))
    except EmulatorError as error:
        return _problem(f"{error} ({error.evidence})" if error.evidence else str(error))


def formats_of(files: Mapping[str, bytes]) -> dict[int, Format]:
    """The formats of all events that the kernel has, by number. Raises EmulatorError."""
    texts = {name: files.get(f"{name}{FORMAT}", b"").decode("ascii", "replace") for name in (*EVENTS, *FURTHER_EVENTS)}
    return dict(format_of(name, text) for name, text in texts.items() if text or name in EVENTS)


def _problem(words: str) -> bytes:
    shown = "".join(character if " " <= character < "\x7f" else "?" for character in words[:300])
    return HEAD + f"problem {shown or 'no reason is known'}\n".encode()


def _log(pages: bytes, formats: Mapping[int, Format], text: str, stats: str) -> bytes:
    names = {int(number): name for number, name in _NAME.findall(text)}
    counted = list(_counted(_lines(events(pages, formats), names)))
    cut = _sum(_CUT, stats) + max(0, len(counted) - MOST_LINES)
    end = f"end cut={cut} lost={_sum(_LOST, stats) + lost(pages)}"
    return HEAD + "".join(f"{line}\n" for line in (*counted[:MOST_LINES], end)).encode()


def _sum(counts: re.Pattern[str], stats: str) -> int:
    return sum(int(count) for count in counts.findall(stats))


def _counted(lines: Iterator[str]) -> Iterator[str]:
    """Equal lines that follow each other as one, with their number after it."""
    last, times = "", 0
    for line in lines:
        if line == last:
            times += 1
            continue
        if last:
            yield f"{last} x{times}" if times > 1 else last
        last, times = line, 1
    if last:
        yield f"{last} x{times}" if times > 1 else last


def _lines(traced: Iterator[Event], names: Mapping[int, str]) -> Iterator[str]:
    window = OUTSIDE
    open_exits: dict[int, _OpenExit] = {}  # the last one of each vCPU's thread: what L0 makes of it is still to come
    for event in traced:
        thread = event.fields.get("common_pid", 0)
        last = open_exits.get(thread)
        if event.name == EXIT:
            if last is not None:
                yield f"{window} {last.line(names)}"
            open_exits[thread] = _exit(event)
        elif last is not None and event.name == CPUID and last.reason == CPUID_EXIT and (marked := mark(event)):
            del open_exits[thread]  # the CPUID itself is no exit of the check's
            yield from _flushed(window, open_exits, names)
            number, word = marked
            yield f"{number} {word}"
            window = str(number) if word == MARKS[1] else OUTSIDE
        elif last is not None:
            _take(last, event)
    yield from _flushed(window, open_exits, names)


def _flushed(window: str, open_exits: dict[int, _OpenExit], names: Mapping[int, str]) -> Iterator[str]:
    for last in open_exits.values():
        yield f"{window} {last.line(names)}"
    open_exits.clear()


def _exit(event: Event) -> _OpenExit:
    fields = event.fields
    reason = fields.get("exit_reason", BASIC)
    exception = reason & BASIC == EXCEPTION_EXIT
    detail = fields.get("intr_info", 0) & 0xFF if exception else fields.get("info1", 0)
    return _OpenExit(reason=reason, rip=fields.get("guest_rip", 0), detail=detail)


def mark(event: Event) -> tuple[int, str] | None:
    """Of a CPUID event: the number of the check that it marks, and a word of MARKS."""
    number = event.fields.get("function", 0) - MARK
    word = MARKS.get(event.fields.get("index", 0))
    return (number, word) if word and 0 <= number <= 0xFFFF else None


def _take(last: _OpenExit, event: Event) -> None:
    """What an event says of the exit before it."""
    if event.name == NESTED:
        last.nested = True
    elif event.name == INJECT:
        last.passed = event.fields.get("exit_code", BASIC)
    elif event.name == EXCEPTION and not event.fields.get("reinjected"):
        last.injected = [*last.injected, event.fields.get("exception", 0) & 0xFF][:4]
