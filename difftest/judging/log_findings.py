"""Findings in logs: panics of an emulator, and warnings of the kernel under test."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL, About
from difftest.judging.known import matches
from difftest.judging.pairing import Pairing
from difftest.judging.repeat_verdict import RepeatVerdict, entries_of, is_reference, result_of
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading
from difftest.reading.record import parse
from difftest.text import visible
from difftest.verdict import Verdict
from emulators.observation import ORDERLY

KERNEL_LOG = "kernel.log"  # of an observation
# Panics of Bochs that are no CPU's: its devices give up on what drivers do.
DEVICE_PANIC = re.compile(r"\[(?:PIC|PIT|DMA|KBD|CMOS|FLOPPY|HD|PIDE|PCI|P2I|HPET|ACPI|COM\d|BXVGA|VGA) *\]")
OF_A_DEVICE = (
    "a device of this Bochs does not do what the image's driver asked of it: what followed may differ by that, and not "
    "by the CPU; another version may (--bochs 3.0)"
)
MOST_FRAMES = 6  # of a call trace
MOST_LINES = 5  # of a log, beside the first, that are shown


def panics_of(pairing: Pairing) -> list[Result]:
    """What an emulator gave up on is a finding of its own, whatever the guest saw: the reference, and the CPU under the
    subject in the boots of it and of the subject. That one blames nobody whom the checks compare.
    """
    summary = "The emulator gives up on nothing while it runs this image."
    host = pairing.side(Role.HOST_CPU)
    under = [] if host is None else [*([] if is_reference(pairing, host) else host.boots), *pairing.subject.boots]
    return [
        *_panics_in(pairing, About(check=EMULATOR, summary=summary), pairing.reference.boots, Verdict.REFERENCE_WRONG),
        *_panics_in(pairing, About(check=HOST_EMULATOR, summary=summary), under, Verdict.DIFFER),
    ]


def _panics_in(pairing: Pairing, about: About, boots: Sequence[BootReading], verdict: Verdict) -> list[Result]:
    """`verdict` is that on a panic of the CPU. A device that gave up proves nothing of it."""
    panicked = [reading for reading in boots if reading.observation.panics]
    if not panicked:
        return _gone(pairing, about, boots, "the emulator gave up on nothing")
    lines: dict[str, str] = {}
    for reading in panicked:
        whose = f"{pairing.hardware} under {reading.observation.target}, " if about.check == HOST_EMULATOR else ""
        for line in reading.observation.panics:
            lines.setdefault(line, f"{whose}panic{_while(reading)}: {visible(line, 300)}")
    of_cpu = [words for line, words in lines.items() if not DEVICE_PANIC.match(line)]
    if of_cpu:
        return [_in_log(pairing, about, verdict, of_cpu, boots, panicked)]
    return [_in_log(pairing, about, Verdict.INCONCLUSIVE, list(lines.values()), boots, panicked, [OF_A_DEVICE])]


def _while(reading: BootReading) -> str:
    """Which check ran when an emulator gave up on something, as far as that is known: it is noticed a little later."""
    transcript, said = reading.transcript, reading.observation.said_before_panic
    if said is not None:
        transcript = parse(reading.observation.words[:said])
    during = transcript.died_in() or next(reversed(transcript.records), "")
    if during:
        return f" during {during} or before it"
    return " before the first check" if said is not None and reading.transcript.records else ""


def _times(boots: Sequence[BootReading], showing: Sequence[BootReading]) -> str:
    """In how many of the repeated boots something showed, "2/3"; "" for a single one, in however many parts."""
    every, some = ({reading.boot.repeat for reading in readings} for readings in (boots, showing))
    return f"{len(some)}/{len(every)}" if len(every) > 1 else ""


def kernel_faults_of(pairing: Pairing) -> list[Result]:
    """A WARN, BUG or oops of the kernel under test is a finding, whatever the guest saw; one that no code of KVM is
    part of is the kernel's and decides nothing about KVM.
    """
    boots = pairing.subject.boots
    about = About(check=HOST_KERNEL, summary="The kernel's log has no warning of KVM's while it runs this image.")
    faults = [fault for reading in boots for fault in reading.observation.kernel_faults]
    in_kvm = [fault for fault in faults if fault.in_kvm]
    if in_kvm:
        lines = list(dict.fromkeys(visible(fault.line, 300) for fault in in_kvm))
        showing = [reading for reading in boots if any(fault.in_kvm for fault in reading.observation.kernel_faults)]
        trace = " < ".join(visible(name, 80) for name in in_kvm[0].trace[:MOST_FRAMES])
        hints = [f"call trace: {trace}"] if trace else []
        return [_in_log(pairing, about, Verdict.SUBJECT_WRONG, lines, boots, showing, hints)]
    if faults:
        reason = f"L0's kernel, not in KVM: {visible(faults[0].line, 300)}"
        return [result_of(pairing, about, RepeatVerdict(verdict=Verdict.DIFFER, reason=reason))]
    logged = all(KERNEL_LOG in reading.observation.logs for reading in boots)
    return _gone(pairing, about, boots, "nothing in the kernel's log") if logged else []


def _gone(pairing: Pairing, about: About, boots: Sequence[BootReading], reason: str) -> list[Result]:
    """What is known of a finding that does not show in these boots, where all checks ran to their end."""
    if entries_of(pairing, about.check) and _all_ran(pairing, boots):
        return [result_of(pairing, about, RepeatVerdict(verdict=Verdict.AGREE, reason=reason))]
    return []


def _in_log(
    pairing: Pairing,
    about: About,
    verdict: Verdict,
    lines: Sequence[str],
    boots: Sequence[BootReading],
    showing: Sequence[BootReading],
    hints: Sequence[str] = (),
) -> Result:
    """A finding of these lines, which `showing` of the boots have in a log. Its reason is the first that no entry
    covers; an entry that covers none of them is of something that is gone.
    """
    known = entries_of(pairing, about.check)
    first = next((line for line in lines if not any(one.pattern and matches(one, [line]) for one in known)), lines[0])
    others = [line for line in lines if line != first][:MOST_LINES]
    gone = [one for one in known if not any(matches(one, [line]) for line in lines)] if _all_ran(pairing, boots) else []
    missed = [f"a known divergence is gone: {one.reason}" for one in gone]
    found = RepeatVerdict(verdict=verdict, reason=first, hints=[*missed, *hints, *(f"also: {line}" for line in others)])
    result = result_of(pairing, about, found, _times(boots, showing))
    return msgspec.structs.replace(result, expected=False) if gone else result


def _all_ran(pairing: Pairing, boots: Sequence[BootReading]) -> bool:
    """Whether all checks of the image ran in these boots, and those to their end."""
    return pairing.whole and bool(boots) and all(reading.observation.ending in ORDERLY for reading in boots)
