"""Which VM exits L0 handled while each check ran: `exits.log` of a boot whose exits were recorded, parsed.

docs/formats.md has the lines. The log is not trusted: a line that does not parse to the end is a problem, never a
guess.
"""

from __future__ import annotations

import enum
import re
from collections import Counter

import msgspec

from difftest.text import visible
from emulators.observation import EXITS_LOG, Observation

LARGEST = 8 << 20
MOST_PROBLEMS = 20

# Exit reasons (SDM Vol. 3, "VMX Basic Exit Reasons").
VMCALL, CR_ACCESS, EPT_VIOLATION, EPT_MISCONFIGURATION, PML_FULL = 18, 28, 48, 49, 62
# L0's own business: external interrupt, windows for interrupts and NMIs, the preemption timer. Nothing of a check.
HOST = frozenset({1, 7, 8, 52})
# L0 looks at these first, whoever is to get them: it walks L1's EPT by itself. What L1 then gets is of its making.
MEMORY = frozenset({EPT_VIOLATION, EPT_MISCONFIGURATION, PML_FULL})
# What of the kit prepares and cleans up in L1, around the one thing that a check does: see difftest.image.symbols.
STAGE = frozenset(
    {
        *("mode.c:load", "long_stage", "long_enter", "long_leave"),
        *("has", "feature.c:leaf_exists", "intel_lacking", "physical_address_bits"),
        *("vmx_suspend", "vmx_resume", "vmx.c:enter_vmx_operation", "vmcs.c:allowed_controls"),
        *("vmcs_fresh", "vmx_cr3_targets", "ept_capabilities"),
    }
)
FORMER_STAGE = frozenset({"vmx.c:allowed_controls"})  # the same in logs of kits before

_EXIT = re.compile(
    r"(-|\d{1,5}) (L[12]) (\d{1,5}) (\w{1,40}|\?) (-|0x[0-9a-f]{1,16}) (-|0x[0-9a-f]{1,16})"
    r"( failed)?((?: exception=\d{1,3}){0,4})(?: exit=(\d{1,5}))?(?: x(\d{1,9}))?"
)
_MARK = re.compile(r"(\d{1,5}) (start|report)")
_END = re.compile(r"end cut=(\d{1,18}) lost=(\d{1,18})")
_CHECK = re.compile(r"check (\d{1,5}) ([\w.:/+-]{1,120})")
_PLACE = re.compile(r"place 0x([0-9a-f]{1,16}) ([\w.:$-]{1,250})")
_PROBLEM = re.compile(r"problem ([ -~]{1,300})")


class ExitHandling(enum.StrEnum):
    """What L0 made of an exit."""

    HANDLED = "handled"  # it dealt with it, and the guest went on, with an exception perhaps
    REFLECTED = "reflected"  # it passed it on: L1 got this very exit
    WRITTEN = "written"  # it gave L1 an exit of its own making


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """VM exits to L0 that were equal in all of this. Which `count` followed each other is not kept."""

    level: str  # who ran: "L1" or "L2"
    reason: int
    name: str  # the reason as KVM spells it
    rip: int | None = None  # None for VMX instructions of L1
    place: str = ""  # the function of the image that RIP lies in, where that is known
    detail: int | None = None  # the exit qualification; the vector of an exception
    failed: bool = False  # a VM entry that failed
    exceptions: tuple[int, ...] = ()  # vectors that L0 injected after it
    passed: int | None = None  # the reason of the VM exit that L0 gave L1 after it
    count: int = 1

    @property
    def handling(self) -> ExitHandling:
        if self.passed is None:
            return ExitHandling.HANDLED
        return (
            ExitHandling.REFLECTED if self.passed == self.reason and self.reason not in MEMORY else ExitHandling.WRITTEN
        )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What L0 handled while one check ran. `complete`: nothing that it handled is missing."""

    exits: tuple[Exit, ...]
    complete: bool


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What an exits.log says. `windows` are by check, or by its number in the image where that is all that is known."""

    windows: dict[str, Window] = {}
    problems: list[str] = []


class L0View(msgspec.Struct, frozen=True, kw_only=True):
    """The exits of the one thing that a check does, as L0 handled them; see `l0_view`."""

    level: str  # who does it: "L2" where the check has one, or else "L1"
    instructions: tuple[Exit, ...]  # instructions and exceptions that exited to L0, which carried out or passed on
    accesses: tuple[Exit, ...]  # accesses to memory that L0 answered with a VM exit or an exception of its making
    mapped: int  # accesses that L0 answered by mapping the memory; the CPU then made them again
    complete: bool

    @property
    def cpu_alone(self) -> bool:
        """L0 carried out no instruction of it: the CPU under L0 did. Where accesses of it reached L0, that they were
        made is the CPU's, and what L1 got to know of them is L0's. Two things are L0's work all the same, and this says
        nothing of them: to enter and leave L2, with the state that is loaded and saved; and, where L0 mapped memory,
        the flags and the log of L1's EPT, which it walks then.
        """
        return self.complete and not self.instructions

    @property
    def never(self) -> bool:
        """L0 got neither an instruction of it nor an access that it did more about than to map memory."""
        return self.cpu_alone and not self.accesses


def exits_of(observation: Observation) -> Trace | None:
    """The exits of a boot; None where none were recorded."""
    log = observation.logs.get(EXITS_LOG)
    return None if log is None else parse_exits(log)


def l0_view(window: Window) -> L0View:
    """What L0 saw of a check, without what is none of it: its own business (interrupts, timers), the VMCALL that ends
    L2, and what the kit does in L1 to prepare: all of L1 where the check has an L2.

    Where the functions of the image are not known L1's preparations cannot be separated from the rest, and count.
    """
    level = "L2" if any(exit.level == "L2" for exit in window.exits) else "L1"
    own = [exit for exit in window.exits if exit.level == level and exit.place not in STAGE | FORMER_STAGE]
    instructions = tuple(
        exit
        for exit in own
        if exit.reason not in MEMORY
        and not (exit.reason in HOST and exit.passed is None)
        and not (exit.level == "L2" and exit.reason == VMCALL and exit.handling is ExitHandling.REFLECTED)
    )
    memory = [exit for exit in own if exit.reason in MEMORY]
    accesses = tuple(exit for exit in memory if exit.passed is not None or exit.exceptions)
    mapped = sum(exit.count for exit in memory if exit not in accesses)
    return L0View(level=level, instructions=instructions, accesses=accesses, mapped=mapped, complete=window.complete)


def parse_exits(log: bytes) -> Trace:
    """Parse an exits.log. Never raises: `problems` say what is wrong, and what they touch is not complete."""
    text = log[:LARGEST].decode("ascii", "replace").splitlines()
    if not text or text[0] != "difftest exits 1":
        return Trace(problems=["not a log of VM exits that this difftest reads"])
    reader = _Reader()
    for line in text[1:]:
        reader.take(line)
    return reader.trace()


class _Reader:
    """A log that is being read, line by line."""

    def __init__(self) -> None:
        self.exits: dict[int, Counter[Exit]] = {}
        self.reported: set[int] = set()
        self.broken: set[int] = set()  # windows that started twice
        self.checks: dict[int, str] = {}
        self.places: dict[int, str] = {}
        self.problems: list[str] = []
        self.open: int | None = None
        self.to_the_end = self.lost = False

    def take(self, line: str) -> None:
        if match := _EXIT.fullmatch(line):
            self._exit(match)
        elif match := _MARK.fullmatch(line):
            self._mark(int(match[1]), match[2])
        elif match := _CHECK.fullmatch(line):
            self.checks[int(match[1])] = match[2]
        elif match := _PLACE.fullmatch(line):
            self.places[int(match[1], 16)] = match[2]
        elif match := _END.fullmatch(line):
            self.to_the_end, self.lost = match[1] == "0", match[2] != "0"
        elif match := _PROBLEM.fullmatch(line):
            self._problem(match[1])
        else:
            self._problem(f"unknown line: {visible(line, 200)}")

    def trace(self) -> Trace:
        if self.lost:
            self._problem("the kernel lost events of this trace")
        windows = {self.checks.get(number, str(number)): self._window(number) for number in self.exits}
        return Trace(windows=windows, problems=self.problems[:MOST_PROBLEMS])

    def _window(self, number: int) -> Window:
        whole = (number in self.reported or self.to_the_end) and number not in self.broken and not self.lost
        exits = (
            msgspec.structs.replace(exit, count=count, place=self.places.get(exit.rip or 0, ""))
            for exit, count in self.exits[number].items()
        )
        return Window(exits=tuple(exits), complete=whole)

    def _exit(self, match: re.Match[str]) -> None:
        window, level, reason, name, rip, detail, failed, injected, passed, times = match.groups()
        if (window == "-") != (self.open is None) or (window != "-" and int(window) != self.open):
            self._problem(f"an exit outside its check: {visible(match[0], 200)}")
            return
        if self.open is None:
            return
        exit = Exit(
            level=level,
            reason=int(reason),
            name=name,
            rip=_number(rip),
            detail=_number(detail),
            failed=bool(failed),
            exceptions=tuple(int(word) for word in re.findall(r"\d+", injected)),
            passed=None if passed is None else int(passed),
        )
        self.exits[self.open][exit] += int(times or 1)

    def _mark(self, number: int, word: str) -> None:
        if word == "start":
            if number in self.exits:
                self.broken.add(number)
                self._problem(f"check {number} starts twice")
            self.exits.setdefault(number, Counter())
            self.open = number
            return
        if number == self.open:
            self.reported.add(number)
        else:
            self._problem(f"check {number} reports and has not started")
        self.open = None

    def _problem(self, words: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(words)


def _number(word: str) -> int | None:
    return None if word == "-" else int(word, 16)
