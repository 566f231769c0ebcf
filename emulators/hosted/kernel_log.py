"""The log of L0's kernel: the faults in it, and whether KVM is on their call stacks."""

from __future__ import annotations

import re

from emulators.observation import KernelFault

# What begins the report of a fault.
FAULT = re.compile(
    r"\b(?:WARNING: (?:CPU|.* at )|BUG:|Oops\b|general protection fault|kernel BUG at|invalid opcode:|divide error:)"
)
STAMP = re.compile(r"^(?:<\d+>)?\[[ \d.]+\](?:\[[ \w]+\])? ?")
# One that the kernel marks with "?" is a guess: what an earlier call left on the stack.
END = re.compile(r"---\[ end |-{6,}\[ cut here \]")
FRAME = re.compile(r"^(?:RIP: \w+:)?\s*([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\w+)\])?")
KVM_SOURCE = re.compile(r"\barch/x86/kvm/|\bvirt/kvm/")
KVM_MODULE = re.compile(r"kvm(?:_\w+)?")
LONGEST_REPORT = 120  # lines of one fault
MOST_FRAMES = 40
MOST_FAULTS = 50


def faults(log: bytes) -> list[KernelFault]:
    """Each fault of a kernel log (as dmesg gives it), KVM's or not, in order, at most MOST_FAULTS."""
    lines = [STAMP.sub("", line) for line in log.decode(errors="replace").splitlines()]
    found: list[KernelFault] = []
    at = 0
    while at < len(lines) and len(found) < MOST_FAULTS:
        if FAULT.search(lines[at]):
            report = _report(lines, at)
            found.append(_fault(report))
            at += len(report)
        else:
            at += 1
    return found


def _report(lines: list[str], start: int) -> list[str]:
    """The lines of one fault: up to its end mark, or to where the log speaks of something else."""
    for end in range(start + 1, min(len(lines), start + LONGEST_REPORT)):
        if END.search(lines[end]):
            return lines[start:end]
    # Without an end mark a report is its first line and the frames that follow.
    end = start + 1
    while end < len(lines) and end - start < LONGEST_REPORT and not FAULT.search(lines[end]):
        end += 1
    return lines[start:end]


def _fault(report: list[str]) -> KernelFault:
    frames = [match for line in report if (match := FRAME.match(line.strip()))]
    in_kvm = bool(KVM_SOURCE.search(report[0])) or any(
        match[2] is not None and KVM_MODULE.fullmatch(match[2]) for match in frames
    )
    trace = list(dict.fromkeys(match[1] for match in frames))[:MOST_FRAMES]
    return KernelFault(line=report[0].strip(), trace=trace, in_kvm=in_kvm)
