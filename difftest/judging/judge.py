"""Comparing and judging: the boots of the same bytes on all sides in, one Result per check out. Pure, works offline.

The image judged each side against the SDM; here the sides are compared, field by field, and the difference is
attributed (see attribution.py). Agreement needs evidence from both sides; what could not be observed is inconclusive,
with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from difftest.case.manifest import IMAGE, About, Manifest
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
from difftest.judging.fields import fields_of
from difftest.judging.log_findings import kernel_faults_of, panics_of
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.repeat_verdict import RepeatVerdict, result_of
from difftest.judging.result import BY_L0, Result, Role
from difftest.reading.boot_reading import BootReading, Parts
from difftest.reading.exception_dump import exception_dump
from difftest.reading.exits import exits_of, l0_view
from difftest.reading.record import Record
from difftest.text import visible
from difftest.verdict import MEANINGS, Status, Verdict
from emulators.host.errors import ExpressionError
from emulators.observation import FATAL, ORDERLY

BOTH = (Role.REFERENCE, Role.SUBJECT)
MOST_LINES = 5  # of a log, beside the first, that are shown


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
    return [*results, *panics_of(pairing), *kernel_faults_of(pairing)]


def missing(pairing: Pairing, verdict: Verdict, reason: str) -> list[Result]:
    """Results for sides that were not booted: a capability is missing, or a target could not be used. One that its own
    manifest skips is one result, whatever it has.
    """
    whole = [About(check=IMAGE, summary=pairing.manifest.title)]
    outcome = RepeatVerdict(verdict=verdict, reason=reason)
    if pairing.manifest.skipped:
        record = Record(check=IMAGE, status=Status.SKIP, own=True)
        skips = {side.role: Evidence(status=Status.SKIP, reason=reason, record=record) for side in pairing.sides}
        return [result_of(pairing, whole[0], msgspec.structs.replace(outcome, evidence=skips))]
    return [result_of(pairing, about, outcome) for about in pairing.abouts or whole]


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
        return result_of(pairing, about, RepeatVerdict(verdict=Verdict.INCONCLUSIVE, reason="no boot was observed"))
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
    return result_of(pairing, about, chosen, f"{times}/{len(outcomes)}" if len(outcomes) > 1 else "")


def _values(outcome: RepeatVerdict) -> tuple[tuple[str, str | None], ...]:
    return tuple(
        (f"{target} {field.name}", value)
        for field in outcome.fields
        if field.compared
        for target, value in sorted(field.values.items())
    )


def _contradictions(
    pairing: Pairing, boots: Mapping[Role, Mapping[int, Parts]], check: str | None, outcomes: Sequence[RepeatVerdict]
) -> list[RepeatVerdict]:
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
            fields = fields_of(pairing, evidence)
            found.append(
                RepeatVerdict(
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
) -> RepeatVerdict:
    """One check in the repeated boot of this number. The CPU under the subject is booted once, for all of them."""
    parts = {role: every.get(number) or every[min(every)] for role, every in boots.items() if every}
    screens = _scope(pairing.manifest, check, parts[Role.REFERENCE], parts[Role.SUBJECT])
    evidence = {role: evidence_of(pairing.manifest, one, check, screens) for role, one in parts.items()}
    host = pairing.side(Role.HOST_CPU)
    if host is not None and (unfit := _host_unfit(pairing, host, parts.get(Role.HOST_CPU), check)):
        record = Record(check=check or IMAGE, status=Status.NOT_REPORTED)
        evidence[Role.HOST_CPU] = Evidence(status=Status.NOT_REPORTED, reason=unfit, record=record)
    fields = fields_of(pairing, evidence)
    for role in (Role.REFERENCE, Role.SUBJECT):
        if unfit := _unfit(pairing.manifest, part_of(parts[role], check)):
            return RepeatVerdict(
                verdict=Verdict.INCONCLUSIVE,
                reason=f"{pairing.targets[role]}: {unfit}",
                evidence=evidence,
                fields=fields,
            )
    left, right = (part_of(parts[role], check) for role in (Role.REFERENCE, Role.SUBJECT))
    whole = left.boot.part == right.boot.part == 0  # later parts differ in which checks are switched on
    if whole and left.observation.image_sha256 != right.observation.image_sha256:
        reason = "the two sides did not boot the same bytes"
        return RepeatVerdict(verdict=Verdict.INCONCLUSIVE, reason=reason, evidence=evidence, fields=fields)
    if check is None and len({evidence[role].record.fields.get(DUMP, "") for role in BOTH}) > 1:
        evidence = {role: _died_by_itself(one) for role, one in evidence.items()}
    found = attribute(evidence, pairing.targets, fields, pairing.hardware)
    if absent := _without_device(pairing.manifest, evidence):
        return RepeatVerdict(verdict=Verdict.SKIPPED, reason=absent, evidence=evidence, fields=fields)
    by_l0 = _by_l0(right, check) if found.verdict == Verdict.SHARED else []
    hints = [*by_l0, *(hint.replace(BY_EXITS, "") if by_l0 else hint for hint in found.hints)]
    if check is None and found.verdict == Verdict.DIFFER and not pairing.manifest.volatile:
        hints += text_hints(fields)
    if check is None and found.verdict == Verdict.INCONCLUSIVE:
        hints += end_hints(pairing.manifest, {pairing.targets[role]: part_of(parts[role], check) for role in BOTH})
    return RepeatVerdict(verdict=found.verdict, reason=found.reason, hints=hints, evidence=evidence, fields=fields)


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
