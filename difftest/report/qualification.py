"""Exit qualifications, bit by bit, by exit reason. Intel SDM, Vol. 3, "Basic VM-Exit Information" and the tables
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from difftest.judging.result import Result

REGISTERS = (
    *("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"),
    *("R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"),
)
YES = ("no", "yes")


class BitField(msgspec.Struct, frozen=True):
    """Some bits of a qualification: what they say, and the words for their values where those are more than a
    number.
    """

    high: int
    low: int
    name: str
    words: tuple[str, ...] = ()

    @property
    def bits(self) -> str:
        return f"{self.high}:{self.low}" if self.high != self.low else str(self.low)

    def value(self, qualification: int) -> int:
        return qualification >> self.low & (1 << self.high - self.low + 1) - 1

    def text(self, qualification: int) -> str:
        """The value in words, "1, yes"."""
        number = self.value(qualification)
        words = self.words[number] if number < len(self.words) else ""
        shown = str(number) if number < 10 else f"{number:#x}"
        return f"{shown}, {words}" if words else shown


def _bit(number: int, name: str, words: tuple[str, ...] = YES) -> BitField:
    return BitField(number, number, name, words)


def _flags(first: int, *names: str) -> list[BitField]:
    return [_bit(first + index, name) for index, name in enumerate(names)]


EPT_VIOLATION = [
    *_flags(0, "the access was a data read", "the access was a data write", "the access was an instruction fetch"),
    *_flags(3, "EPT allows reads of the address", "EPT allows writes", "EPT allows execution"),
    _bit(6, "EPT allows execution from user-mode linear addresses (mode-based execute control only)"),
    _bit(7, "the guest-linear address field is valid (it is not for a load of the PDPTEs by MOV to CR)"),
    _bit(8, "where bit 7 is 1: what was accessed", ("a paging-structure entry", "the translation of a linear address")),
    *_flags(9, "user-mode linear address", "linear address that paging lets be written", "linear address that is XD"),
    *_flags(12, "NMIs were unblocked by IRET", "shadow-stack access", "supervisor shadow-stack page by EPT"),
    *_flags(15, "guest-paging verification", "asynchronous to the instruction"),
]
CONTROL_REGISTER = [
    BitField(3, 0, "control register (0 for CLTS and LMSW)"),
    BitField(5, 4, "access", ("MOV to CR", "MOV from CR", "CLTS", "LMSW")),
    _bit(6, "operand of LMSW", ("a register", "memory")),
    BitField(11, 8, "general register of the MOV", REGISTERS),
    BitField(31, 16, "source data of LMSW"),
]
DEBUG_REGISTER = [
    BitField(2, 0, "debug register"),
    _bit(4, "direction", ("MOV to DR", "MOV from DR")),
    BitField(11, 8, "general register", REGISTERS),
]
PORT = [
    BitField(2, 0, "size", ("1 byte", "2 bytes", "", "4 bytes")),
    _bit(3, "direction", ("OUT", "IN")),
    *_flags(4, "string instruction", "REP prefix"),
    _bit(6, "port number", ("in DX", "immediate")),
    BitField(31, 16, "port"),
]
TASK_SWITCH = [
    BitField(15, 0, "selector of the TSS"),
    BitField(31, 30, "caused by", ("CALL", "IRET", "JMP", "a task gate in the IDT")),
]
APIC_ACCESS = [
    BitField(11, 0, "offset in the APIC page"),
    BitField(15, 12, "access", ("linear read", "linear write", "linear fetch", "linear, while an event was delivered")),
]
DEBUG_EXCEPTION = [
    *_flags(0, "breakpoint 0", "breakpoint 1", "breakpoint 2", "breakpoint 3"),
    *_flags(12, "an enabled breakpoint was matched", "debug register accessed (BD)", "single step (BS)"),
    _bit(16, "inside a transactional region (RTM)"),
]
GUEST_STATE = [
    BitField(
        63, 0, "cause", ("none of the below", "", "PDPTEs could not be loaded", "NMI injection", "VMCS link pointer")
    )
]
VECTOR = [BitField(7, 0, "vector")]
LINEAR_ADDRESS = [BitField(63, 0, "linear address")]
DISPLACEMENT = [BitField(63, 0, "displacement of the memory operand")]

LAYOUTS: dict[int, Sequence[BitField]] = {
    4: VECTOR,
    9: TASK_SWITCH,
    14: LINEAR_ADDRESS,
    **dict.fromkeys((19, 21, 22, 23, 25, 27, 46, 47, 50, 53, 58, 63, 64), DISPLACEMENT),
    28: CONTROL_REGISTER,
    29: DEBUG_REGISTER,
    30: PORT,
    33: GUEST_STATE,
    34: [BitField(31, 0, "number of the entry in the MSR-load area")],
    36: [_bit(0, "address-range monitoring was armed")],
    44: APIC_ACCESS,
    45: VECTOR,
    48: EPT_VIOLATION,
    56: [BitField(11, 0, "offset in the APIC page")],
    62: [_bit(12, "NMIs were unblocked by IRET"), _bit(16, "asynchronous to the instruction")],
}
EXCEPTIONS = {1: DEBUG_EXCEPTION, 14: LINEAR_ADDRESS}  # of exit reason 0, by vector


class BitRow(msgspec.Struct, frozen=True):
    """Some bits, and what each side has there; None where its exit has no such bits."""

    bits: str
    name: str
    values: tuple[str | None, ...]  # in the order of the result's sides

    @property
    def differs(self) -> bool:
        return None not in self.values and len(set(self.values)) > 1


def decoded(result: Result) -> list[BitRow]:
    """All sides' exit qualifications, bit by bit: one row for what both have, a row each where their exits differ in
    kind.

    Empty when the record holds no exit qualification, or only ones that the exit defines no bits of.
    """
    sides = [_side(result, side.target) for side in result.sides]
    numbers = [_number(side.get("exit_qualification")) for side in sides]
    layouts = [_layout(side) if number is not None else () for side, number in zip(sides, numbers, strict=True)]
    rows = []
    for part in dict.fromkeys(part for layout in layouts for part in layout):
        values = [
            part.text(number) if number is not None and part in layout else None
            for number, layout in zip(numbers, layouts, strict=True)
        ]
        rows.append(BitRow(part.bits, part.name, tuple(values)))
    return rows


def _side(result: Result, target: str) -> dict[str, str]:
    """One side's fields. A field that is compared for one kind of exit and free for another is there twice."""
    return {field.name: field.values[target] for field in result.fields if target in field.values}


def _layout(side: Mapping[str, str]) -> Sequence[BitField]:
    reason = _number(side.get("exit_reason"))
    if reason is None:
        return ()
    if reason & 0xFFFF == 0:
        information = _number(side.get("exit_interruption_information"))
        return EXCEPTIONS.get(information & 0xFF, ()) if information is not None else ()
    return LAYOUTS.get(reason & 0xFFFF, ())


def _number(value: str | None) -> int | None:
    try:
        return int(value, 16) if value is not None and value.startswith("0x") else None
    except ValueError:
        return None
