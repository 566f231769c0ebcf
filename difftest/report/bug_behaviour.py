"""What a bug report says of the behaviour: what the SDM requires, what was seen, and how a person sees it."""

from __future__ import annotations

from difftest.case.manifest import HOST_KERNEL
from difftest.judging.result import Result
from difftest.report.accusation import Accusation, observed
from difftest.report.bug_head import EXPECTED, PROGRAMS
from difftest.report.digest import SideReport
from difftest.report.field_values import spelled
from difftest.report.words import NO_CHECKS, effect, sentence
from difftest.text import visible
from difftest.verdict import Status

VMCALL = "0x12"  # the reason of its VM exit


def expected(it: Accusation) -> list[str]:
    right = it.other.status == Status.PASS
    lines = [f"Expected behavior ({_who(it)} shows it; not tried on real hardware):" if right else "Expected behavior:"]
    if it.result.check in EXPECTED:
        return [*lines, "", EXPECTED[it.result.check]]
    lines += ["", *(f"  {name} = {spelled(name, value)}" for name, value in _required(it))]
    return (
        [*lines, "", shown(it.pair.side(it.other.target).of(it.result), it.result, it.other.status)] if right else lines
    )


def _required(it: Accusation) -> list[tuple[str, str]]:
    """Fields and what the SDM requires of them: what the culprit's record says, and of what it does not speak, as
    it took another exit, the record of the side that does right, or else of any.
    """
    order = [it.culprit.target, it.other.target, *(side.target for side in it.result.sides)]
    wanted = [(field, next(filter(field.required.get, order), "")) for field in it.result.fields]
    return [(field.name, field.required[target]) for field, target in wanted if target]


def _who(it: Accusation) -> str:
    side = it.pair.side(it.other.target)
    identity, name = observed(side).identity, side.names.implementation
    versions = [f"{program} {identity[key]}" for program, key in (*PROGRAMS, ("kernel", "kernel")) if key in identity]
    return f"{name} ({', '.join(versions).removeprefix(f'{name} ')})" if versions else name


def actual(it: Accusation) -> list[str]:
    target = it.culprit.target
    lines = [f"Actual behavior: {effect(it.result, target) or it.result.reason}", ""]
    other_exit = any(field.name == "exit_reason" and field.differs for field in it.result.fields)
    for field in it.result.fields:
        value, wanted = field.values.get(target), field.required.get(target)
        if value is not None and field.compared:
            wrong = f"    instead of {spelled(field.name, wanted)}" if wanted is not None and wanted != value else ""
            lines.append(f"  {field.name} = {spelled(field.name, value)}{wrong}")
        elif wanted is not None and not other_exit:
            lines.append(f"  {field.name} absent    instead of {spelled(field.name, wanted)}")
    if it.culprit.status == Status.DIED and it.culprit.reason:
        lines += ["", sentence(it.culprit.reason)]
    if it.nested and _by_vmcall(it):
        lines += ["", "The VMCALL is the nested guest's own: its handler of the exception reports by it."]
    faults = it.observed.kernel_faults if it.is_kvm else []
    if faults and it.result.check != HOST_KERNEL:
        lines += ["", "In the kernel's log of the same boot, which ran other checks, too:"]
    for fault in faults:
        lines.append(f"  kernel log: {fault.line}")
        lines += [f"    {function}" for function in fault.trace]
    return lines


def _by_vmcall(it: Accusation) -> bool:
    """Whether the exit is that of the VMCALL which a handler of the kit makes of an exception in L2."""
    values = {field.name: field.values.get(it.culprit.target, "") for field in it.result.fields}
    return bool(values.get("vector")) and values.get("exit_reason") == VMCALL


def shown(side: SideReport, result: Result, status: Status) -> str:
    """What a person sees at the end of a boot: the words on the screen, and the serial port's last line."""
    observation = observed(side)
    words = [
        f'See "{visible(reading.memory.strip(), 80)}" on the VGA screen at row {row} column {_columns(reading.memory)}.'
        for row, reading in sorted(side.screen.rows.items())
        if reading.memory.strip()
    ]
    line = side.terminal_line
    if line:
        words.append(f"The last line of serial output is:\n\n{line}\n\n")
    if result.check in NO_CHECKS or not line or status == Status.DIED:
        words.append(f"The boot ended with {observation.ending.value} ({observation.detail}).")
    if result.check not in NO_CHECKS and status not in (Status.NOT_REPORTED, Status.DIED):
        words.append(f'The line that begins with "difftest 1 check {result.check}" says {status.value}.')
    return " ".join(words).replace("\n ", "\n")


def _columns(text: str) -> str:
    return f"{len(text) - len(text.lstrip())}-{len(text.rstrip()) - 1}"
