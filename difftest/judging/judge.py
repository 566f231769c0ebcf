"""Comparing and judging: two observations of the same bytes in, one Result per check out. Pure, works offline.

The image judged each side against the SDM; here the sides are held against each other, field by field, and the
difference is put at somebody's door. Agreement needs evidence from both sides; what could not be observed is
inconclusive, with the reason.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from difftest.case.manifest import HOST_KERNEL, IMAGE, About, Known, Manifest
from difftest.judging.result import Field, Result
from difftest.judging.side import (
    DIED,
    FATAL,
    ORDERLY,
    Compared,
    Side,
    aligned,
    by_repeat,
    compared,
    part_of,
    settled,
    side_of,
    switched_off,
)
from difftest.reading.seen import Parts, Seen
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict
from emulators.target import Names


def judge(
    manifest: Manifest,
    abouts: Sequence[About],
    reference: tuple[Names, Sequence[Seen]],
    subject: tuple[Names, Sequence[Seen]],
) -> list[Result]:
    """All results of one case for one pair of targets. Each side has one Seen per repeated boot, or several where a
    check killed the guest and the rest was booted behind it (see Observation.repeat and .part).
    """
    left_names, right_names = reference[0], subject[0]
    lefts, rights = aligned(manifest, reference[1], subject[1])
    pairs = list(zip(by_repeat(lefts), by_repeat(rights), strict=False))
    known_checks = {about.check: about for about in abouts}
    reported = [name for seen in (*lefts, *rights) for name in (*seen.transcript.records, *seen.transcript.started)]
    checks = list(dict.fromkeys([*known_checks, *reported]))
    results = [
        _settle(manifest, known_checks.get(check, About(check=check)), left_names, right_names, pairs, check)
        for check in checks
    ]
    if not checks:
        results.append(_settle(manifest, About(check=IMAGE), left_names, right_names, pairs, None))
    elif all(result.verdict == Verdict.AGREE for result in results) or _suite_died(lefts, rights):
        # Every check agrees; the image as a whole must too. Where a check differs, the rest follows from it, but a
        # suite that did not come to its end on one side has not passed there.
        whole = _settle(manifest, About(check=IMAGE), left_names, right_names, pairs, None)
        if whole.verdict != Verdict.AGREE:
            results.append(whole)
    return results + _kernel_findings(manifest, left_names, right_names, lefts, rights)


def _suite_died(lefts: Sequence[Seen], rights: Sequence[Seen]) -> bool:
    """Whether a suite in lines broke off on one side: the boot ended badly, or what closes it on the other is
    missing.
    """
    seens = [seen for seen in (*lefts, *rights) if seen.transcript.suite.lines]
    broke_off = any(seen.observation.ending in FATAL for seen in seens)
    return broke_off or len({seen.transcript.suite.closed for seen in seens}) > 1


def missing(
    manifest: Manifest, abouts: Sequence[About], reference: Names, subject: Names, verdict: Verdict, reason: str
) -> list[Result]:
    """Results for a pair that was not booted: a capability is missing, or a target could not be used."""
    whole = [About(check=IMAGE, summary=manifest.title)]
    return [_result(manifest, about, reference, subject, verdict, reason, None, None, []) for about in abouts or whole]


def _settle(
    manifest: Manifest,
    about: About,
    reference: Names,
    subject: Names,
    pairs: Sequence[tuple[Parts, Parts]],
    check: str | None,
) -> Result:
    """The verdict over all repeated boots: flaky when they do not all give the same."""
    outcomes = []
    for left, right in pairs:
        screens = compared(manifest, left[0], right[0]) if check is None else Compared.NOTHING  # of no single check
        sides = (side_of(manifest, left, check, screens), side_of(manifest, right, check, screens))
        fields = _fields(*sides)
        verdict, reason = _unfit(manifest, part_of(left, check), part_of(right, check), reference, subject) or _verdict(
            *sides, reference, subject, fields
        )
        outcomes.append((verdict, reason, sides, fields))
    if not outcomes:
        return _result(
            manifest, about, reference, subject, Verdict.INCONCLUSIVE, "no boot was observed", None, None, []
        )
    kinds = Counter(
        (verdict, tuple((field.name, field.reference, field.subject) for field in fields if field.compared))
        for verdict, _, _, fields in outcomes
    )
    (commonest, _), times = kinds.most_common(1)[0]
    verdict, reason, (left_side, right_side), fields = next(outcome for outcome in outcomes if outcome[0] == commonest)
    boots = f"{times}/{len(outcomes)}" if len(outcomes) > 1 else ""
    if len(kinds) > 1 and not all(MEANINGS[kind].decided for kind, _ in kinds):
        undecided = next(outcome for outcome in outcomes if not MEANINGS[outcome[0]].decided)
        verdict, reason, (left_side, right_side), fields = undecided
    elif len(kinds) > 1:
        verdict = Verdict.FLAKY
        reason = f"{times} of {len(outcomes)} boots gave one result, the others another ({reason})"
    versions = _versions(*(parts[0] for parts in pairs[0]))
    return _result(manifest, about, reference, subject, verdict, reason, left_side, right_side, fields, boots, versions)


def _unfit(manifest: Manifest, left: Seen, right: Seen, reference: Names, subject: Names) -> tuple[Verdict, str] | None:
    """Why these two observations carry no verdict at all, whatever the records say."""
    for seen, names in ((left, reference), (right, subject)):
        observation = seen.observation
        if observation.image_sha256 != observation.image_sha256_after:
            return Verdict.INCONCLUSIVE, f"{names.target}: the image's bytes changed while it was booted"
        if observation.alarms:
            return Verdict.INCONCLUSIVE, f"{names.target}: {visible(observation.alarms[0], 300)}"
        believed = observation.ending in ORDERLY or settled(manifest, seen)
        if seen.screen.problem and believed and not switched_off(seen):
            return Verdict.INCONCLUSIVE, f"{names.target}: {visible(seen.screen.problem, 300)}"
    whole = left.observation.part == right.observation.part == 0  # later parts differ in which checks are switched on
    if whole and left.observation.image_sha256 != right.observation.image_sha256:
        return Verdict.INCONCLUSIVE, "the two sides did not boot the same bytes"
    return None


def _verdict(left: Side, right: Side, reference: Names, subject: Names, fields: Sequence[Field]) -> tuple[Verdict, str]:
    """Expectation meets outcome: the one place where a comparison becomes a verdict."""
    for side, names in ((left, reference), (right, subject)):
        if not side.status:
            return Verdict.INCONCLUSIVE, f"{names.target}: {side.reason}"
    for side, names in ((left, reference), (right, subject)):
        if side.status == "SKIP":
            return Verdict.SKIPPED, f"{names.target}: {side.reason or 'the image skipped it'}"
    same = not any(field.differs for field in fields)
    left_bad, right_bad = left.status in ("FAIL", DIED), right.status in ("FAIL", DIED)
    if DIED in (left.status, right.status):
        if left.status == right.status:
            return Verdict.INCONCLUSIVE, f"both sides died: {left.reason}"
        if "OPEN" in (left.status, right.status):
            return Verdict.DIFFER, left.reason if left.status == DIED else right.reason
    if left_bad and right_bad:
        if same and subject.inherits == reference.implementation:
            return (
                Verdict.INHERITED,
                f"both break the SDM alike, and {reference.implementation} is {subject.target}'s hardware",
            )
        return Verdict.BOTH_WRONG, _against_sdm(left, right, fields)
    if right_bad:
        return Verdict.SUBJECT_WRONG, _against_sdm(right, right, fields)
    if left_bad:
        return Verdict.REFERENCE_WRONG, _against_sdm(left, left, fields)
    if not same or left.status != right.status:
        names_of = ", ".join(field.name for field in fields if field.differs) or "the image's own judgement"
        return Verdict.DIFFER, f"the sides differ in {names_of}, and nothing says which is right"
    return Verdict.AGREE, "same on both sides" if left.status == "OPEN" else "same on both sides, as the SDM requires"


def _against_sdm(side: Side, other: Side, fields: Sequence[Field]) -> str:
    """What a failing side did against what is required, in one line."""
    if DIED in (side.status, other.status):
        return side.reason if side.status == DIED else other.reason
    parts = []
    for name in side.record.broken() or other.record.broken():
        parts.append(
            f"{name} is {side.record.fields.get(name, 'absent')}, the SDM requires {side.record.required.get(name)}"
        )
    return "; ".join(parts[:3]) or side.reason or "the image judged it wrong"


def _fields(left: Side, right: Side) -> list[Field]:
    """Both records side by side, in the order in which the images printed them."""
    required = {**left.record.required, **right.record.required}
    names = dict.fromkeys([*left.record.fields, *right.record.fields, *required])
    free = dict.fromkeys([*left.record.free, *right.record.free])
    return [
        *(
            Field(
                name=name,
                reference=left.record.fields.get(name),
                subject=right.record.fields.get(name),
                required=required.get(name),
            )
            for name in names
        ),
        *(
            Field(name=name, reference=left.record.free.get(name), subject=right.record.free.get(name), compared=False)
            for name in free
        ),
    ]


def _kernel_findings(
    manifest: Manifest, reference: Names, subject: Names, lefts: Sequence[Seen], seens: Sequence[Seen]
) -> list[Result]:
    """A WARN, BUG or oops of the kernel under test is a finding, whatever the guest saw."""
    faults = [fault for seen in seens for fault in seen.observation.kernel_faults]
    if not faults:
        return []
    times = sum(1 for seen in seens if seen.observation.kernel_faults)
    about = About(check=HOST_KERNEL, summary="the kernel's own log while it ran this image")
    reason = visible(faults[0], 300)
    boots = f"{times}/{len(seens)}" if len(seens) > 1 else ""
    versions = _versions(lefts[0], seens[0])
    return [
        _result(manifest, about, reference, subject, Verdict.SUBJECT_WRONG, reason, None, None, [], boots, versions)
    ]


def _result(
    manifest: Manifest,
    about: About,
    reference: Names,
    subject: Names,
    verdict: Verdict,
    reason: str,
    left: Side | None,
    right: Side | None,
    fields: list[Field],
    boots: str = "",
    versions: Mapping[str, str] | None = None,
) -> Result:
    applying = [known for known in manifest.known if _applies(known, about.check, subject.target, versions or {})]
    # Several entries may speak of one check: the one that foresaw this verdict, or else the first.
    known = next((known for known in applying if known.verdict == verdict), applying[0] if applying else None)
    expected = not MEANINGS[verdict].diverges and MEANINGS[verdict].decided
    if known is not None and verdict == known.verdict:
        expected = True
    elif known is not None and verdict == Verdict.AGREE:
        expected = False
        reason = f"a known divergence is gone: {known.reason}"
    return Result(
        case=manifest.name,
        check=about.check,
        sdm=about.sdm,
        summary=about.summary,
        reference=reference.target,
        subject=subject.target,
        reference_name=reference.implementation,
        subject_name=subject.implementation,
        verdict=verdict,
        reason=reason,
        reference_status=(left.status if left else "") or "-",
        subject_status=(right.status if right else "") or "-",
        fields=fields,
        boots=boots,
        known=known,
        expected=expected,
    )


def _versions(reference: Seen, subject: Seen) -> Mapping[str, str]:
    """What the version ranges of a `[[known]]` entry speak of, by their keys; "" where it is not known."""
    return {
        "kernels": subject.observation.identity.get("kernel", ""),
        "bochs": reference.observation.identity.get("bochs", ""),
    }


def _applies(known: Known, check: str, target: str, versions: Mapping[str, str]) -> bool:
    """Whether a `[[known]]` entry speaks of this check, this target and these versions."""
    if check not in known.checks or (known.targets and target not in known.targets):
        return False
    return all(_within(getattr(known, key), version) for key, version in versions.items())


@functools.cache
def _within(specifiers: str, version: str) -> bool:
    """Whether the numbers that `version` begins with lie in a range; "" stands for all, and for not known."""
    if not specifiers or not version:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        number = re.match(r"\d+(\.\d+)*", version)
        return number is not None and SpecifierSet(specifiers).contains(Version(number.group()))
    except (InvalidSpecifier, InvalidVersion):
        return False
