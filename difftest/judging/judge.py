"""Comparing and judging: the boots of the same bytes on all sides in, one Result per check out. Pure, works offline.

The image judged each side against the SDM; here the sides are compared, field by field, and the difference is
attributed (see attribution.py). Agreement needs evidence from both sides; what could not be observed is inconclusive,
with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL, IMAGE, About, KnownDivergence, Manifest
from difftest.errors import reason_of
from difftest.judging.attribution import BY_EXITS, attribute
from difftest.judging.endings import end_hints, text_hints, until_it_left
from difftest.judging.evidence import (
    DUMP,
    UNREPORTED,
    Evidence,
    ScreenScope,
    aligned,
    by_repeat,
    evidence_of,
    gave_up,
    part_of,
    reached_end,
    screen_scope,
    skipped_rest,
    switched_off,
)
from difftest.judging.known import applying, covers, describes, matches
from difftest.judging.result import BY_L0, Field, Result, Role, Side
from difftest.reading.boot_reading import BootReading, Parts
from difftest.reading.exception_dump import exception_dump
from difftest.reading.exits import exits_of, l0_view
from difftest.reading.record import Record, parse
from difftest.text import visible
from difftest.verdict import MEANINGS, Status, Verdict, label
from emulators.host.errors import ExpressionError
from emulators.observation import FATAL, ORDERLY
from emulators.target import Names

KERNEL_LOG = "kernel.log"  # of an observation
# What is left of a known verdict when one of its sides does what the SDM requires.
REPAIRED = {
    Verdict.BOTH_WRONG: (Verdict.REFERENCE_WRONG, Verdict.SUBJECT_WRONG),
    Verdict.SHARED: (Verdict.REFERENCE_WRONG,),
}
BOTH = (Role.REFERENCE, Role.SUBJECT)
# Panics of Bochs that are no CPU's: its devices give up on what drivers do.
DEVICE_PANIC = re.compile(r"\[(?:PIC|PIT|DMA|KBD|CMOS|FLOPPY|HD|PIDE|PCI|P2I|HPET|ACPI|COM\d|BXVGA|VGA) *\]")
OF_A_DEVICE = (
    "a device of this Bochs does not do what the image's driver asked of it: what followed may differ by that, and not "
    "by the CPU; another version may (--bochs 3.0)"
)
MOST_FRAMES = 6  # of a call trace
MOST_LINES = 5  # of a log, beside the first, that are shown


class SideBoots(msgspec.Struct, frozen=True, kw_only=True):
    """All boots of one side. `missing` says why there is none, where one was needed."""

    role: Role
    names: Names
    boots: Sequence[BootReading] = ()
    missing: str = ""


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared: a case, and its sides. Each side has one BootReading for each repeated boot, or several where a
    check ended the guest and the rest was booted after it.

    A reference that is the very CPU under the subject takes part twice, under both roles.
    """

    manifest: Manifest
    abouts: Sequence[About]  # the checks that were switched on
    whole: bool = True  # these are all checks of the image
    sides: Sequence[SideBoots]

    def side(self, role: Role) -> SideBoots | None:
        return next((side for side in self.sides if side.role == role), None)

    @property
    def reference(self) -> SideBoots:
        return self.sides[0]

    @property
    def subject(self) -> SideBoots:
        return self.sides[-1]

    @property
    def targets(self) -> dict[Role, str]:
        return {side.role: side.names.target for side in self.sides}

    def label(self, verdict: Verdict) -> str:
        """A verdict in words."""
        names = self.reference.names.implementation, self.subject.names.implementation
        return label(verdict, reference=names[0], subject=names[1])

    @property
    def versions(self) -> dict[str, str]:
        """What the version ranges and parameters of a `[[known]]` entry speak of, by its keys; "" where not known."""
        first = {side.role: side.boots[0].observation.identity for side in self.sides if side.boots}
        reference, subject = first.get(Role.REFERENCE, {}), first.get(Role.SUBJECT, {})
        return {
            "kernels": subject.get("kernel", ""),
            "bochs": reference.get("bochs", ""),
            "host_bochs": subject.get("hosting bochs", ""),
            "kvm_param": subject.get("module parameters", ""),
        }

    @property
    def hardware(self) -> str:
        """What the CPU under the subject is, in words."""
        host = self.side(Role.HOST_CPU)
        if host is None or not host.boots:
            return "the CPU under it"
        identity = host.boots[0].observation.identity
        return f"{host.names.implementation} {identity.get('bochs', '')} ({identity.get('cpu model', '')})"


class _RepeatVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One check in one repeated boot of all sides."""

    verdict: Verdict
    reason: str
    hints: list[str] = []
    evidence: dict[Role, Evidence] = {}
    fields: list[Field] = []
    unpaired: bool = False  # of a boot of one side that has no counterpart


def judge(pairing: Pairing) -> list[Result]:
    """All results of one case for one subject. None has a verdict where an expression of the manifest takes too
    long.
    """
    try:
        return _all(pairing)
    except ExpressionError as error:
        return missing(pairing, Verdict.INCONCLUSIVE, reason_of(error))


def _all(pairing: Pairing) -> list[Result]:
    pairing = _with_lines(_until_it_left(pairing))
    abouts = {about.check: about for about in pairing.abouts}
    readings = [reading for side in (pairing.reference, pairing.subject) for reading in side.boots]
    reported = [name for reading in readings for name in (*reading.transcript.records, *reading.transcript.started)]
    checks = list(dict.fromkeys([*abouts, *reported]))
    results = _without_lost([_judged(pairing, abouts.get(check, About(check=check)), check) for check in checks])
    if not checks:
        results.append(_judged(pairing, About(check=IMAGE, summary=pairing.manifest.title), None))
    elif (
        all(result.verdict == Verdict.AGREE for result in results)
        or _suite_died(pairing.manifest, readings)
        or _dumps_differ(pairing.manifest, readings)
    ):
        # Every check agrees; the image as a whole must too. Where a check differs, the rest follows from it, but a
        # suite that did not come to its end on one side has not passed there, and how it died is of its own.
        whole = _judged(pairing, About(check=IMAGE, summary=pairing.manifest.title), None)
        if whole.verdict != Verdict.AGREE:
            results.append(whole)
    return [*results, *_panics(pairing), *_kernel_faults(pairing)]


def missing(pairing: Pairing, verdict: Verdict, reason: str) -> list[Result]:
    """Results for sides that were not booted: a capability is missing, or a target could not be used. One that its own
    manifest skips is one result, whatever it has.
    """
    whole = [About(check=IMAGE, summary=pairing.manifest.title)]
    outcome = _RepeatVerdict(verdict=verdict, reason=reason)
    if pairing.manifest.skipped:
        record = Record(check=IMAGE, status=Status.SKIP, own=True)
        skips = {side.role: Evidence(status=Status.SKIP, reason=reason, record=record) for side in pairing.sides}
        return [_result(pairing, whole[0], msgspec.structs.replace(outcome, evidence=skips))]
    return [_result(pairing, about, outcome) for about in pairing.abouts or whole]


def _with_lines(pairing: Pairing) -> Pairing:
    lists = aligned(pairing.manifest, *(side.boots for side in pairing.sides))
    sides = [
        msgspec.structs.replace(side, boots=tuple(boots)) for side, boots in zip(pairing.sides, lists, strict=True)
    ]
    return msgspec.structs.replace(pairing, sides=tuple(sides))


def _until_it_left(pairing: Pairing) -> Pairing:
    """What is compared ends, on all sides, where one of the two left through a port."""
    others = {Role.SUBJECT: pairing.reference, Role.REFERENCE: pairing.subject, Role.HOST_CPU: pairing.subject}
    sides = []
    for side in pairing.sides:
        first = {reading.boot.repeat: reading for reading in others[side.role].boots if reading.boot.part == 0}
        boots = [until_it_left(reading, first.get(reading.boot.repeat, reading)) for reading in side.boots]
        sides.append(msgspec.structs.replace(side, boots=boots))
    return msgspec.structs.replace(pairing, sides=tuple(sides))


def _without_lost(results: Sequence[Result]) -> list[Result]:
    """The results without the lines that a side never came to because it ended, or hung, in a test with lines of its
    own: they follow from what is said of that test.
    """
    died = [result for result in results if any(side.status == Status.DIED for side in result.sides)]
    ends = tuple(f"{result.check}/" for result in died)
    lost = {
        result.check
        for result in results
        if result.check.startswith(ends) and any(side.reason.startswith(UNREPORTED) for side in result.sides)
    }
    hints = {
        result.check: [*result.hints, f"lines of this test that the other side printed after that: {count}"]
        for result in died
        if (count := sum(check.startswith(f"{result.check}/") for check in lost))
    }
    return [
        msgspec.structs.replace(result, hints=hints.get(result.check, result.hints))
        for result in results
        if result.check not in lost
    ]


def _suite_died(manifest: Manifest, readings: Sequence[BootReading]) -> bool:
    """Whether a suite in lines broke off on one side: the boot ended badly, or what closes it on the other is
    missing. Where it ended in one of the tests that it names, that test has a result of its own.
    """
    readings = [
        one for one in readings if one.transcript.suite.lines and one.transcript.died_in() not in manifest.tests
    ]
    if any(map(skipped_rest, readings)):  # what the other side did with tests that this one has not is no difference
        return False
    broke_off = any(reading.observation.ending in FATAL or gave_up(reading) for reading in readings)
    return broke_off or len({reading.transcript.suite.closed for reading in readings}) > 1


def _dumps_differ(manifest: Manifest, readings: Sequence[BootReading]) -> bool:
    """Whether the guest reported that it died of an exception, and not in the same way in all boots. Where it died in
    one of the tests that it names, that test has a result of its own.
    """
    readings = [one for one in readings if one.transcript.died_in() not in manifest.tests]
    if any(map(skipped_rest, readings)):
        return False
    return len({exception_dump(one.observation.words or one.observation.debug) for one in readings}) > 1


def _judged(pairing: Pairing, about: About, check: str | None) -> Result:
    """The verdict over all repeated boots: flaky when the answer is not the same in all of them."""
    boots = {side.role: by_repeat(side.boots) for side in pairing.sides}
    references, subjects = boots[Role.REFERENCE], boots[Role.SUBJECT]
    numbers = sorted(references.keys() & subjects.keys())
    outcomes = [_outcome(pairing, boots, number, check) for number in numbers]
    if not outcomes:
        return _result(pairing, about, _RepeatVerdict(verdict=Verdict.INCONCLUSIVE, reason="no boot was observed"))
    outcomes += _contradictions(pairing, boots, check, outcomes)
    answers = Counter(outcome.verdict for outcome in outcomes)
    # What is shown is what decides nothing, if anything does, or else what diverges: of several the commonest.
    order = sorted(answers, key=lambda one: (MEANINGS[one].decided, not MEANINGS[one].diverges, -answers[one]))
    shown = order[0]
    chosen, times = next(outcome for outcome in outcomes if outcome.verdict == shown), answers[shown]
    if len(answers) > 1 and MEANINGS[shown].decided:
        others = ", ".join(f"{answers[one]} {pairing.label(one)}" for one in order[1:])
        reason = f"{times} of {len(outcomes)} boots: {pairing.label(shown)} ({chosen.reason}); the others: {others}"
        chosen = msgspec.structs.replace(chosen, verdict=Verdict.FLAKY, reason=reason)
    elif len(answers) == 1 and len({_values(outcome) for outcome in outcomes}) > 1:
        hint = "the values vary from boot to boot; the answer does not"
        chosen = msgspec.structs.replace(chosen, hints=[*chosen.hints, hint])
    elif len(answers) > 1 and not chosen.unpaired:
        chosen = msgspec.structs.replace(chosen, reason=f"boot {numbers[outcomes.index(chosen)]}: {chosen.reason}")
    return _result(pairing, about, chosen, f"{times}/{len(outcomes)}" if len(outcomes) > 1 else "")


def _values(outcome: _RepeatVerdict) -> tuple[tuple[str, str | None], ...]:
    return tuple(
        (f"{target} {field.name}", value)
        for field in outcome.fields
        if field.compared
        for target, value in sorted(field.values.items())
    )


def _contradictions(
    pairing: Pairing, boots: Mapping[Role, Mapping[int, Parts]], check: str | None, outcomes: Sequence[_RepeatVerdict]
) -> list[_RepeatVerdict]:
    """A boot whose counterpart on the other side is missing decides nothing; but one that gave something else than the
    boots that count takes the verdict away.
    """
    found = []
    pairs = (Role.REFERENCE, Role.SUBJECT), (Role.SUBJECT, Role.REFERENCE)
    for role, other in pairs:
        counted = {_answer(outcome.evidence[role]) for outcome in outcomes if role in outcome.evidence}
        for number in sorted(boots[role].keys() - boots[other].keys()):
            parts = boots[role][number]
            scope = _scope(pairing.manifest, check, parts, next(iter(boots[other].values())))
            one = evidence_of(pairing.manifest, parts, check, scope)
            if _answer(one) in counted:
                continue
            what = f"{one.status.value}{_values_of(one)}"
            reason = (
                f"{pairing.targets[role]}: boot {number} gave {what}, which the others did not, and has no "
                f"counterpart on {pairing.targets[other]}"
            )
            evidence = {**outcomes[0].evidence, role: one}
            fields = _fields(pairing, evidence)
            found.append(
                _RepeatVerdict(
                    verdict=Verdict.INCONCLUSIVE, reason=reason, evidence=evidence, fields=fields, unpaired=True
                )
            )
    return found


def _answer(one: Evidence) -> tuple[Status, tuple[tuple[str, str], ...]]:
    """What a side answers: its status and, where it breaks nothing, its values. Where it does they may vary."""
    return one.status, () if one.status.bad else tuple(sorted(one.record.fields.items()))


def _values_of(one: Evidence) -> str:
    """The values of a side that breaks nothing, in a few words."""
    values = [f"{name} {value}" for name, value in one.record.fields.items()]
    return f" ({', '.join(values[:MOST_LINES])})" if values and not one.status.bad else ""


def _outcome(
    pairing: Pairing, boots: Mapping[Role, Mapping[int, Parts]], number: int, check: str | None
) -> _RepeatVerdict:
    """One check in the repeated boot of this number. The CPU under the subject is booted once, for all of them."""
    parts = {role: every.get(number) or every[min(every)] for role, every in boots.items() if every}
    screens = _scope(pairing.manifest, check, parts[Role.REFERENCE], parts[Role.SUBJECT])
    evidence = {role: evidence_of(pairing.manifest, one, check, screens) for role, one in parts.items()}
    host = pairing.side(Role.HOST_CPU)
    if host is not None and (unfit := _host_unfit(pairing, host, parts.get(Role.HOST_CPU), check)):
        record = Record(check=check or IMAGE, status=Status.NOT_REPORTED)
        evidence[Role.HOST_CPU] = Evidence(status=Status.NOT_REPORTED, reason=unfit, record=record)
    fields = _fields(pairing, evidence)
    for role in (Role.REFERENCE, Role.SUBJECT):
        if unfit := _unfit(pairing.manifest, part_of(parts[role], check)):
            return _RepeatVerdict(
                verdict=Verdict.INCONCLUSIVE,
                reason=f"{pairing.targets[role]}: {unfit}",
                evidence=evidence,
                fields=fields,
            )
    left, right = (part_of(parts[role], check) for role in (Role.REFERENCE, Role.SUBJECT))
    whole = left.boot.part == right.boot.part == 0  # later parts differ in which checks are switched on
    if whole and left.observation.image_sha256 != right.observation.image_sha256:
        reason = "the two sides did not boot the same bytes"
        return _RepeatVerdict(verdict=Verdict.INCONCLUSIVE, reason=reason, evidence=evidence, fields=fields)
    if check is None and len({evidence[role].record.fields.get(DUMP, "") for role in BOTH}) > 1:
        evidence = {role: _died_by_itself(one) for role, one in evidence.items()}
    found = attribute(evidence, pairing.targets, fields, pairing.hardware)
    if absent := _without_device(pairing.manifest, evidence):
        return _RepeatVerdict(verdict=Verdict.SKIPPED, reason=absent, evidence=evidence, fields=fields)
    by_l0 = _by_l0(right, check) if found.verdict == Verdict.SHARED else []
    hints = [*by_l0, *(hint.replace(BY_EXITS, "") if by_l0 else hint for hint in found.hints)]
    if check is None and found.verdict == Verdict.DIFFER and not pairing.manifest.volatile:
        hints += text_hints(fields)
    if check is None and found.verdict == Verdict.INCONCLUSIVE:
        hints += end_hints(pairing.manifest, {pairing.targets[role]: part_of(parts[role], check) for role in BOTH})
    return _RepeatVerdict(verdict=found.verdict, reason=found.reason, hints=hints, evidence=evidence, fields=fields)


def _scope(manifest: Manifest, check: str | None, *sides: Parts) -> ScreenScope:
    """What is compared of the screens: of no single check anything."""
    return screen_scope(manifest, *(parts[0] for parts in sides)) if check is None else ScreenScope.NOTHING


def _died_by_itself(one: Evidence) -> Evidence:
    """A side whose guest reported an exception has come to its end by that, whatever it did afterwards."""
    if DUMP not in one.record.fields or one.status != Status.NOT_REPORTED:
        return one
    return msgspec.structs.replace(one, status=Status.OPEN)


def _without_device(manifest: Manifest, evidence: Mapping[Role, Evidence]) -> str:
    """Why a test that fails says nothing of the CPUs, or ""."""
    both = [evidence[Role.REFERENCE], evidence[Role.SUBJECT]]
    if manifest.absent_devices and any(one.status.bad and one.record.own for one in both):
        return f"it fails where the image uses a device that neither side has: {manifest.absent_devices[0]}"
    return ""


def _by_l0(reading: BootReading, check: str | None) -> list[str]:
    """What a record of L0's exits says of a check, where there is one: who carried it out."""
    trace = exits_of(reading.observation)
    window = trace.windows.get(check) if trace is not None and check is not None else None
    view = l0_view(window) if window is not None else None
    if view is None or not view.complete:
        return []
    if view.cpu_alone:
        return [f"{BY_L0} no instruction of {view.level} in this check: the CPU under it did"]
    return [f"{BY_L0} instructions of {view.level} in this check: what they gave may be its own doing"]


def _host_unfit(pairing: Pairing, host: SideBoots, parts: Parts | None, check: str | None) -> str:
    """Why what was observed of the CPU under the subject decides nothing, or ""."""
    if parts is None:
        return host.missing or "it was not booted"
    reading = part_of(parts, check)
    reference = pairing.reference.boots[0].observation.image_sha256
    if reading.boot.part == 0 and reference != reading.observation.image_sha256:
        return "it did not boot the same bytes"
    return _unfit(pairing.manifest, reading)


def _unfit(manifest: Manifest, reading: BootReading) -> str:
    """Why an observation carries no verdict at all, whatever the records say, or ""."""
    observation = reading.observation
    if observation.image_sha256 != observation.image_sha256_after:
        return "the image's bytes changed while it was booted"
    if observation.alarms:
        return visible(observation.alarms[0], 300)
    believed = observation.ending in ORDERLY or reached_end(manifest, reading)
    # An image that leaves its lines in RAM says nothing on its screen.
    if reading.screen.problem and believed and not switched_off(reading) and not manifest.parameters:
        return visible(reading.screen.problem, 300)
    return ""


def _fields(pairing: Pairing, evidence: Mapping[Role, Evidence]) -> list[Field]:
    """All records side by side, in the order in which the images printed them."""
    records: dict[str, Record] = {}
    for role in (role for role in Role if role in evidence):
        records.setdefault(pairing.targets[role], evidence[role].record)  # of a reference that is also the CPU, once
    left, right = (evidence[role].record for role in (Role.REFERENCE, Role.SUBJECT))
    names = dict.fromkeys(name for one in records.values() for name in one.fields)
    names |= dict.fromkeys(name for one in records.values() for name in one.required)
    free = dict.fromkeys(name for one in records.values() for name in one.free)
    return [
        *(
            Field(
                name=name,
                values={target: one.fields[name] for target, one in records.items() if name in one.fields},
                required={target: one.required[name] for target, one in records.items() if name in one.required},
                differs=_differs(left, right, name),
            )
            for name in names
        ),
        *(
            Field(
                name=name,
                values={target: one.free[name] for target, one in records.items() if name in one.free},
                compared=False,
            )
            for name in free
        ),
    ]


def _differs(left: Record, right: Record, name: str) -> bool:
    """Whether two sides differ in a field. Where each gives what the SDM requires of it, they do not: what is required
    may depend on the CPU.
    """
    if left.fields.get(name) == right.fields.get(name):
        return False
    met = [name in one.required and one.fields.get(name) == one.required[name] for one in (left, right)]
    return not all(met)


def _panics(pairing: Pairing) -> list[Result]:
    """What an emulator gave up on is a finding of its own, whatever the guest saw: the reference, and the CPU under the
    subject in the boots of it and of the subject. That one blames nobody whom the checks compare.
    """
    summary = "The emulator gives up on nothing while it runs this image."
    host = pairing.side(Role.HOST_CPU)
    under = [] if host is None else [*([] if _is_reference(pairing, host) else host.boots), *pairing.subject.boots]
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


def _is_reference(pairing: Pairing, side: SideBoots) -> bool:
    return side.names.target == pairing.reference.names.target


def _times(boots: Sequence[BootReading], showing: Sequence[BootReading]) -> str:
    """In how many of the repeated boots something showed, "2/3"; "" for a single one, in however many parts."""
    every, some = ({reading.boot.repeat for reading in readings} for readings in (boots, showing))
    return f"{len(some)}/{len(every)}" if len(every) > 1 else ""


def _kernel_faults(pairing: Pairing) -> list[Result]:
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
        return [_result(pairing, about, _RepeatVerdict(verdict=Verdict.DIFFER, reason=reason))]
    logged = all(KERNEL_LOG in reading.observation.logs for reading in boots)
    return _gone(pairing, about, boots, "nothing in the kernel's log") if logged else []


def _gone(pairing: Pairing, about: About, boots: Sequence[BootReading], reason: str) -> list[Result]:
    """What is known of a finding that does not show in these boots, where all checks ran to their end."""
    if _applying(pairing, about.check) and _all_ran(pairing, boots):
        return [_result(pairing, about, _RepeatVerdict(verdict=Verdict.AGREE, reason=reason))]
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
    known = _applying(pairing, about.check)
    first = next((line for line in lines if not any(one.pattern and matches(one, [line]) for one in known)), lines[0])
    others = [line for line in lines if line != first][:MOST_LINES]
    gone = [one for one in known if not any(matches(one, [line]) for line in lines)] if _all_ran(pairing, boots) else []
    missed = [f"a known divergence is gone: {one.reason}" for one in gone]
    found = _RepeatVerdict(
        verdict=verdict, reason=first, hints=[*missed, *hints, *(f"also: {line}" for line in others)]
    )
    result = _result(pairing, about, found, _times(boots, showing))
    return msgspec.structs.replace(result, expected=False) if gone else result


def _applying(pairing: Pairing, check: str) -> list[KnownDivergence]:
    return applying(pairing.manifest.known, check, pairing.subject.names.target, pairing.versions)


def _all_ran(pairing: Pairing, boots: Sequence[BootReading]) -> bool:
    """Whether all checks of the image ran in these boots, and those to their end."""
    return pairing.whole and bool(boots) and all(reading.observation.ending in ORDERLY for reading in boots)


def _result(pairing: Pairing, about: About, outcome: _RepeatVerdict, boots: str = "") -> Result:
    result = Result(
        case=pairing.manifest.name,
        check=about.check,
        sdm=about.sdm,
        summary=about.summary,
        sides=_sides(pairing, outcome.evidence),
        verdict=outcome.verdict,
        reason=outcome.reason,
        hints=outcome.hints,
        fields=outcome.fields,
        boots=boots,
        own=any(one.record.own for one in outcome.evidence.values()),
        expected=not MEANINGS[outcome.verdict].diverges and MEANINGS[outcome.verdict].decided,
    )
    entries = _applying(pairing, about.check)
    if not entries:
        return result
    foreseen = next((one for one in entries if covers(one, result)), None)
    if foreseen is not None:
        return msgspec.structs.replace(result, known=foreseen, expected=True)
    if outcome.verdict == Verdict.AGREE:
        reason = f"a known divergence is gone: {entries[0].reason}"
        return msgspec.structs.replace(result, known=entries[0], expected=False, reason=reason)
    left = [one for one in entries if result.verdict in REPAIRED.get(one.verdict, ()) and describes(one, result)]
    repaired = next(iter(left), None)
    if repaired is not None:
        reason = f"one side of a known divergence is repaired: {repaired.reason}; what is left: {result.reason}"
        return msgspec.structs.replace(result, known=repaired, reason=reason)
    if result.diverges:
        hint = f"another divergence of this check is known: {entries[0].reason}"
        return msgspec.structs.replace(result, hints=[*result.hints, hint])
    return result


def _sides(pairing: Pairing, evidence: Mapping[Role, Evidence]) -> list[Side]:
    """The sides as they are stored. A reference that is also the CPU under the subject is one side; a CPU that gave
    nothing of a check is one where the verdict needs it.
    """
    sides = []
    for booted in pairing.sides:
        one = evidence.get(booted.role)
        if booted.role == Role.HOST_CPU and (
            one is None
            or _is_reference(pairing, booted)
            or (one.status == Status.NOT_REPORTED and not evidence[Role.SUBJECT].status.bad)
        ):
            continue
        sides.append(
            Side(
                role=booted.role,
                target=booted.names.target,
                implementation=booted.names.implementation,
                status=one.status if one else Status.NOT_REPORTED,
                reason=one.reason if one else "",
            )
        )
    return sides
