"""Single faults to be put into the judge, one at a time: each must be noticed by a test (see test_mutations.py)."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """`old` is in the file once, and becomes `new`."""

    file: str
    old: str
    new: str


ATTRIBUTION = "difftest/judging/attribution.py"
JUDGE = "difftest/judging/judge.py"
REPEAT = "difftest/judging/repeat_verdict.py"
LOGS = "difftest/judging/log_findings.py"
FIELDS = "difftest/judging/fields.py"
SIDE = "difftest/judging/evidence.py"
KNOWN = "difftest/judging/known.py"
CONFIRMATION = "difftest/judging/confirmation.py"
RESULT = "difftest/judging/result.py"
COMPARE = "difftest/history/compare.py"
VERDICT = "difftest/verdict.py"

MUTATIONS = [
    # Whose fault it is.
    Mutation(ATTRIBUTION, "GOOD = (Status.PASS, Status.OPEN)", "GOOD = (Status.PASS,)"),
    Mutation(ATTRIBUTION, "    if subject.status == Status.NOT_REPORTED:\n", "    if subject is None:\n"),
    Mutation(
        ATTRIBUTION,
        "    if subject.bad:\n        return _subject_fails",
        "    if subject.bad and reference.status != Status.SKIP:\n        return _subject_fails",
    ),
    Mutation(
        ATTRIBUTION,
        "    if subject.bad:\n        return _subject_fails",
        "    if subject.status == Status.FAIL:\n        return _subject_fails",
    ),
    Mutation(
        ATTRIBUTION,
        "    if reference.bad:\n        return",
        "    if reference.bad and subject.status != Status.SKIP:\n        return",
    ),
    Mutation(ATTRIBUTION, "verdict=Verdict.REFERENCE_WRONG,", "verdict=Verdict.SUBJECT_WRONG,"),
    Mutation(ATTRIBUTION, "        if len(dead) > 1:\n", "        if len(dead) > 2:\n"),
    Mutation(
        ATTRIBUTION,
        "return Attribution(verdict=Verdict.DIFFER, reason=dead[0]",
        "return Attribution(verdict=Verdict.SUBJECT_WRONG, reason=dead[0]",
    ),
    Mutation(ATTRIBUTION, "(Role.REFERENCE, reference), (Role.SUBJECT, subject)):", "(Role.REFERENCE, reference),):"),
    Mutation(ATTRIBUTION, "    if differing or reference.status != subject.status:\n", "    if differing:\n"),
    Mutation(
        ATTRIBUTION,
        "    if differing or reference.status != subject.status:\n",
        "    if reference.status != subject.status:\n",
    ),
    Mutation(ATTRIBUTION, "Verdict.BOTH_WRONG if reference.bad else", "Verdict.BOTH_WRONG if not reference.bad else"),
    Mutation(
        ATTRIBUTION,
        "    if host is None:\n        if reference",
        "    if host is None or host.status == Status.NOT_REPORTED:\n        if reference",
    ),
    Mutation(
        ATTRIBUTION,
        "        if subject.status == reference.status == Status.DIED:\n",
        "        if subject.status == reference.status == Status.SKIP:\n",
    ),
    Mutation(ATTRIBUTION, "    if host.status in GOOD:\n", "    if host.status in GOOD and not reference.bad:\n"),
    Mutation(ATTRIBUTION, "    if host.status == Status.SKIP:\n", "    if host.status == Status.OPEN:\n"),
    Mutation(ATTRIBUTION, "        verdict=Verdict.SHARED,\n", "        verdict=both,\n"),
    Mutation(
        ATTRIBUTION,
        '"in the same way" if alike(subject, host) else',
        '"in the same way" if alike(reference, host) else',
    ),
    Mutation(ATTRIBUTION, "distinct = {targets[role]:", "distinct = {role:"),
    Mutation(ATTRIBUTION, "    if one.status != other.status:\n        return False\n", ""),
    Mutation(
        ATTRIBUTION,
        'return one.record.fields.get("ending") == other.record.fields.get("ending")',
        "return True",
    ),
    Mutation(
        ATTRIBUTION, "return _broken(one) == _broken(other)", "return _broken(one).keys() == _broken(other).keys()"
    ),
    Mutation(ATTRIBUTION, "return _broken(one) == _broken(other)", "return one.record.fields == other.record.fields"),
    Mutation(
        ATTRIBUTION, "    if not reference.bad or alike(reference, subject):", "    if alike(reference, subject):"
    ),
    Mutation(ATTRIBUTION, "    if not reference.bad or alike(reference, subject):", "    if not reference.bad:"),
    Mutation(ATTRIBUTION, "if all(alike(first, other)", "if any(alike(first, other)"),
    Mutation(
        ATTRIBUTION,
        "    if host.record.fields == sides[Role.SUBJECT]",
        "    if host.record.fields != sides[Role.SUBJECT]",
    ),
    # Comparing: what is judged, and over which boots.
    Mutation(
        REPEAT,
        "Verdict.BOTH_WRONG: (Verdict.REFERENCE_WRONG, Verdict.SUBJECT_WRONG),",
        "Verdict.BOTH_WRONG: (Verdict.REFERENCE_WRONG,),",
    ),
    Mutation(REPEAT, "Verdict.SHARED: (Verdict.REFERENCE_WRONG,),", "Verdict.SHARED: (Verdict.SUBJECT_WRONG,),"),
    Mutation(JUDGE, "(*reading.transcript.records, *reading.transcript.started)]", "(*reading.transcript.records,)]"),
    Mutation(JUDGE, "checks = list(dict.fromkeys([*abouts, *reported]))", "checks = list(dict.fromkeys(reported))"),
    Mutation(JUDGE, "        if whole.verdict != Verdict.AGREE:\n            results.append(whole)\n", ""),
    Mutation(JUDGE, "*panics_of(pairing), *kernel_faults_of(pairing)]", "*kernel_faults_of(pairing)]"),
    Mutation(JUDGE, "return broke_off or len(", "return len("),
    Mutation(JUDGE, "sorted(references.keys() & subjects.keys())", "sorted(references.keys() | subjects.keys())[:1]"),
    Mutation(JUDGE, "    outcomes += _contradictions(pairing, boots, check, outcomes)\n", ""),
    Mutation(
        JUDGE,
        "chosen = msgspec.structs.replace(chosen, verdict=Verdict.FLAKY,",
        "chosen = msgspec.structs.replace(chosen,",
    ),
    Mutation(
        JUDGE,
        'f"{times}/{len(outcomes)}" if len(outcomes) > 1 else "")\n\n\ndef _values',
        'f"{times}/{len(outcomes)}")\n\n\ndef _values',
    ),
    Mutation(
        JUDGE,
        "        for field in outcome.fields\n        if field.compared\n",
        "        for field in outcome.fields\n",
    ),
    Mutation(
        JUDGE,
        "pairs = (Role.REFERENCE, Role.SUBJECT), (Role.SUBJECT, Role.REFERENCE)",
        "pairs = ((Role.SUBJECT, Role.REFERENCE),)",
    ),
    Mutation(JUDGE, "every.get(number) or every[min(every)]", "every[min(every)]"),
    Mutation(JUDGE, "if host is not None and (unfit := _host_unfit(", "if host is None and (unfit := _host_unfit("),
    Mutation(
        JUDGE,
        "    for role in (Role.REFERENCE, Role.SUBJECT):\n        if unfit",
        "    for role in (Role.SUBJECT,):\n        if unfit",
    ),
    Mutation(
        JUDGE,
        "    if whole and left.observation.image_sha256 != right",
        "    if whole and left.observation.image_sha256 == right",
    ),
    Mutation(JUDGE, "    if whole and left.observation.image_sha256 !=", "    if left.observation.image_sha256 !="),
    Mutation(JUDGE, "    if reading.boot.part == 0 and reference != reading", "    if reference == reading"),
    Mutation(JUDGE, "    return _unfit(pairing.manifest, reading)\n", '    return ""\n'),
    Mutation(
        JUDGE,
        "    if observation.image_sha256 != observation.image_sha256_after:",
        "    if not observation.image_sha256_after:",
    ),
    Mutation(JUDGE, "    if observation.alarms:\n        return", "    if not observation.target:\n        return"),
    Mutation(JUDGE, "    if reading.screen.problem and believed and", "    if reading.screen.problem and"),
    Mutation(
        JUDGE,
        "    if reading.screen.problem and believed and not switched_off(reading) and",
        "    if reading.screen.problem and believed and",
    ),
    Mutation(
        FIELDS,
        "        records.setdefault(pairing.targets[role], evidence[role].record)",
        "        records[pairing.targets[role]] = evidence[role].record",
    ),
    Mutation(FIELDS, "    return not all(met)\n", "    return not any(met)\n"),
    Mutation(FIELDS, "    return not all(met)\n", "    return True\n"),
    Mutation(
        FIELDS, "one.fields.get(name) == one.required[name] for one in (left, right)]", "True for one in (left, right)]"
    ),
    Mutation(LOGS, "    in_kvm = [fault for fault in faults if fault.in_kvm]", "    in_kvm = faults"),
    Mutation(
        LOGS,
        "showing = [reading for reading in boots if any(fault.in_kvm for fault in reading.observation.kernel_faults)]",
        "showing = list(boots)",
    ),
    Mutation(
        LOGS, "return [result_of(pairing, about, RepeatVerdict(verdict=Verdict.DIFFER, reason=reason))]", "return []"
    ),
    Mutation(LOGS, "and all(reading.observation.ending in ORDERLY for reading in boots)", ""),
    Mutation(LOGS, '"nothing in the kernel\'s log") if logged else []', '"nothing in the kernel\'s log")'),
    Mutation(
        REPEAT,
        "expected=not MEANINGS[outcome.verdict].diverges and MEANINGS[outcome.verdict].decided,",
        "expected=not MEANINGS[outcome.verdict].diverges,",
    ),
    Mutation(
        REPEAT,
        "expected=not MEANINGS[outcome.verdict].diverges and MEANINGS[outcome.verdict].decided,",
        "expected=MEANINGS[outcome.verdict].decided,",
    ),
    Mutation(
        REPEAT,
        "        return msgspec.structs.replace(result, known=foreseen, expected=True)",
        "        return msgspec.structs.replace(result, known=foreseen)",
    ),
    Mutation(REPEAT, "known=entries[0], expected=False, reason=reason)", "known=entries[0], reason=reason)"),
    Mutation(
        REPEAT,
        "        return msgspec.structs.replace(result, known=repaired, reason=reason)",
        "        return msgspec.structs.replace(result, known=repaired, expected=True, reason=reason)",
    ),
    # What one side gives.
    Mutation(SIDE, "        return self.status.bad and self.judged", "        return self.status.bad"),
    Mutation(SIDE, "sorted(readings, key=lambda reading: reading.boot.part)", "readings"),
    Mutation(SIDE, "groups.setdefault(reading.boot.repeat, [])", "groups.setdefault(0, [])"),
    Mutation(SIDE, "return (reported or fatal or [parts[-1]])[0]", "return (reported or fatal or [parts[0]])[0]"),
    Mutation(SIDE, "return (reported or fatal or [parts[-1]])[0]", "return (reported or [parts[-1]])[0]"),
    Mutation(
        SIDE,
        "    if manifest.end_screen or any(switched_off(reading) for reading in readings):",
        "    if any(switched_off(reading) for reading in readings):",
    ),
    Mutation(
        SIDE,
        "    if all(printed_lines(reading.screen) for reading in readings):",
        "    if any(printed_lines(reading.screen) for reading in readings):",
    ),
    Mutation(SIDE, "    if transcript.problems:\n        return no(", "    if not transcript:\n        return no("),
    Mutation(
        SIDE, "    if record.status == Status.PASS and broken:", "    if record.status == Status.OPEN and not record:"
    ),
    Mutation(SIDE, "    ended_later = transcript.died_in() is not None or (", "    ended_later = bool("),
    Mutation(SIDE, "or (ending in FATAL and bool(transcript.suite.lines))", ""),
    Mutation(
        SIDE,
        "or ending == Ending.FINISHED or (ending in ORDERLY and not manifest.end)\n    if not ended_later",
        "or ending in ORDERLY\n    if not ended_later",
    ),
    Mutation(SIDE, "    if not ended_later and not in_order:\n", "    if not ended_later and ending in FATAL:\n"),
    Mutation(SIDE, "    if not ended_later and not transcript.complete:\n", "    if not transcript:\n"),
    Mutation(SIDE, "status=Status.FAIL if broken else record.status", "status=record.status"),
    Mutation(
        SIDE,
        "    if where == check and ending in FATAL | HUNG | ORDERLY:",
        "    if where == check and ending in FATAL | ORDERLY:",
    ),
    Mutation(
        SIDE,
        "    if where == check and ending in FATAL | HUNG | ORDERLY:",
        "    if where == check and ending in FATAL | HUNG:",
    ),
    Mutation(SIDE, "    if where == check and ending in FATAL | HUNG | ORDERLY:", "    if where == check:"),
    Mutation(
        SIDE, "    if where == check and ending in FATAL | HUNG | ORDERLY:", "    if ending in FATAL | HUNG | ORDERLY:"
    ),
    Mutation(SIDE, "        judged = bool(manifest.right or manifest.wrong)", "        judged = True"),
    Mutation(SIDE, "    if not in_order or (manifest.end and", "    if manifest.end and (manifest.end and"),
    Mutation(
        SIDE,
        "    if not any((line, *shown.values(),",
        "    if not line and not any((line, *shown.values(), line, *texts.values(), True,",
    ),
    Mutation(
        SIDE,
        "((Status.FAIL, manifest.wrong), (Status.PASS, manifest.right))",
        "((Status.PASS, manifest.wrong), (Status.FAIL, manifest.right))",
    ),
    # What is known.
    Mutation(KNOWN, "        if check in one.checks\n", "        if one.checks\n"),
    Mutation(KNOWN, "and (not one.targets or target in one.targets)", ""),
    Mutation(KNOWN, "and all(within(getattr(one, key)", "and any(within(getattr(one, key)"),
    Mutation(
        KNOWN,
        "    if (side.status == Status.DIED) != known.died:\n",
        "    if side.status != Status.DIED and known.died:\n",
    ),
    Mutation(
        KNOWN,
        "    if (side.status == Status.DIED) != known.died:\n",
        "    if side.status == Status.DIED and not known.died:\n",
    ),
    Mutation(
        KNOWN,
        "for field in result.fields if side.target in field.values}",
        "for field in result.fields if side.target in field.values and field.differs}",
    ),
    Mutation(KNOWN, "not in ([wanted] if isinstance(wanted, str) else wanted):", "not in wanted:"),
    Mutation(KNOWN, "            return False\n    return matches", "            return True\n    return matches"),
    Mutation(KNOWN, "    return matches(known, [result.reason])\n", "    return True\n"),
    Mutation(
        KNOWN, "result.reference if result.verdict == Verdict.REFERENCE_WRONG else result.subject", "result.subject"
    ),
    Mutation(KNOWN, "        return number is not None and", "        return number is None or"),
    Mutation(KNOWN, "    if not specifiers:\n", "    if not specifiers or not version:\n"),
    Mutation(
        KNOWN,
        "    except (InvalidSpecifier, InvalidVersion):\n        return False",
        "    except (InvalidSpecifier, InvalidVersion):\n        return True",
    ),
    # Looking again.
    Mutation(
        CONFIRMATION,
        "stage.outcome == StageOutcome.DIFFERENT and stage.name in (SCREEN, RERUN)",
        "stage.outcome == StageOutcome.DIFFERENT",
    ),
    Mutation(
        CONFIRMATION,
        "stage.outcome == StageOutcome.DIFFERENT and stage.name in (SCREEN, RERUN)",
        "stage.outcome == StageOutcome.DIFFERENT and stage.name == SCREEN",
    ),
    Mutation(CONFIRMATION, "plain = (SCREEN, RERUN, OTHER_HOST)", "plain = (SCREEN, RERUN)"),
    Mutation(CONFIRMATION, "        if MEANINGS[result.verdict].diverges\n", "        if MEANINGS[result.verdict]\n"),
    Mutation(CONFIRMATION, "        and result.check != HOST_KERNEL\n", ""),
    Mutation(CONFIRMATION, "(which == ConfirmScope.NEW and not result.expected)", "which == ConfirmScope.NEW"),
    Mutation(
        CONFIRMATION,
        "not MEANINGS[again.verdict].decided or again.verdict == Verdict.SKIPPED:",
        "not MEANINGS[again.verdict].decided:",
    ),
    Mutation(
        CONFIRMATION,
        "    if name == OTHER_HOST and again.verdict == Verdict.SHARED:",
        "    if again.verdict == Verdict.SHARED:",
    ),
    Mutation(
        CONFIRMATION,
        "    if name == OTHER_HOST and again.verdict == Verdict.SHARED:",
        "    if name == RERUN and again.verdict == Verdict.SHARED:",
    ),
    Mutation(CONFIRMATION, "    if again.verdict != first.verdict:\n", "    if again.verdict == Verdict.AGREE:\n"),
    Mutation(CONFIRMATION, '"" if shown(again) == shown(first) else', '"" if shown(again) != shown(first) else'),
    Mutation(CONFIRMATION, "found.get((result.check, result.subject.target))", "next(iter(found.values()), None)"),
    Mutation(
        CONFIRMATION,
        "    if confirmation is None or not MEANINGS[result.verdict].diverges:",
        "    if confirmation is None:",
    ),
    Mutation(
        CONFIRMATION,
        "    if screen is not None and screen.outcome == StageOutcome.DIFFERENT:",
        "    if screen is not None and screen.outcome != StageOutcome.SAME:",
    ),
    Mutation(
        CONFIRMATION,
        "replace(result, verdict=Verdict.INCONCLUSIVE, expected=False,",
        "replace(result, verdict=Verdict.INCONCLUSIVE,",
    ),
    Mutation(
        CONFIRMATION,
        "result.verdict in (Verdict.SUBJECT_WRONG, Verdict.BOTH_WRONG)",
        "result.verdict == Verdict.SUBJECT_WRONG",
    ),
    Mutation(CONFIRMATION, "result.verdict in (Verdict.SUBJECT_WRONG, Verdict.BOTH_WRONG)", "result.diverges"),
    Mutation(
        CONFIRMATION,
        "elsewhere.outcome == StageOutcome.DIFFERENT and blamed:",
        "elsewhere.outcome != StageOutcome.SAME and blamed:",
    ),
    Mutation(
        CONFIRMATION,
        "replace(result, verdict=Verdict.BY_HOST, expected=False,",
        "replace(result, verdict=Verdict.BY_HOST,",
    ),
    Mutation(CONFIRMATION, "        if one.dismissed:\n", "        if one.limits:\n"),
    # What a result says, and what it does to a run.
    Mutation(
        RESULT,
        "return target in self.required and self.values.get(target) !=",
        "return target in self.values and self.values.get(target) !=",
    ),
    Mutation(RESULT, "Verdict.SHARED: [self.host_cpu or self.reference],", "Verdict.SHARED: [self.subject],"),
    Mutation(RESULT, "Verdict.SHARED: [self.host_cpu or self.reference],", "Verdict.SHARED: [self.reference],"),
    Mutation(RESULT, "Verdict.REFERENCE_WRONG: [self.reference],", "Verdict.REFERENCE_WRONG: [self.subject],"),
    Mutation(RESULT, "[*([self.reference] if self.reference.status.bad else []), self.subject]", "[self.subject]"),
    Mutation(VERDICT, "return self in (Status.FAIL, Status.DIED)", "return self == Status.FAIL"),
    Mutation(
        VERDICT,
        "return cls.SHARED if value == FORMER_SHARED else None",
        "return cls.BOTH_WRONG if value == FORMER_SHARED else None",
    ),
    Mutation(VERDICT, "        if not result.expected and decided:\n", "        if not result.expected:\n"),
    Mutation(
        VERDICT,
        "        if not decided or (result.refused",
        "        if (not decided and result.expected) or (result.refused",
    ),
    # Versions side by side.
    Mutation(
        COMPARE,
        "    if any(verdict is None or not MEANINGS[verdict].decided for verdict in verdicts):",
        "    if any(verdict is None for verdict in verdicts):",
    ),
    Mutation(
        COMPARE, "    if Verdict.SKIPPED in verdicts:\n", "    if verdicts == [Verdict.SKIPPED, Verdict.SKIPPED]:\n"
    ),
    Mutation(
        COMPARE,
        "((before.subject, after.subject), (before.reference, after.reference))",
        "((before.subject, after.subject),)",
    ),
    Mutation(
        COMPARE,
        "        for kind in (Change.NEW, Change.FIXED):\n",
        "        for kind in (Change.FIXED, Change.NEW):\n",
    ),
    Mutation(
        COMPARE,
        "        return Change.NEW if bad_now else Change.FIXED\n    same",
        "        return Change.FIXED if bad_now else Change.NEW\n    same",
    ),
    Mutation(
        COMPARE,
        "same = verdicts[0] == verdicts[1] and _values(before) == _values(after)",
        "same = verdicts[0] == verdicts[1]",
    ),
    Mutation(
        COMPARE,
        "same = verdicts[0] == verdicts[1] and _values(before) == _values(after)",
        "same = _values(before) == _values(after)",
    ),
    Mutation(COMPARE, "    if not all(judged):\n", "    if not any(judged):\n"),
    Mutation(
        COMPARE,
        "    return Change.NEW if after.status.bad else Change.FIXED\n",
        "    return Change.FIXED if after.status.bad else Change.NEW\n",
    ),
    Mutation(COMPARE, "    if len(found) < 2:\n", "    if not found:\n"),
    Mutation(
        COMPARE,
        "for one in found for side in (one.reference, one.subject)]",
        "for one in found for side in (one.subject,)]",
    ),
    Mutation(
        COMPARE,
        "    if shared and any(one.subject.status == Status.PASS for one in found):",
        "    if any(one.subject.status == Status.PASS for one in found):",
    ),
    Mutation(COMPARE, "    if shared and any(one.subject.status == Status.PASS for one in found):", "    if shared:"),
    Mutation(
        COMPARE,
        "    if not beside or not all(MEANINGS[result.verdict].decided for result in beside):",
        "    if not beside:",
    ),
    Mutation(
        COMPARE,
        "    if check == IMAGE and all(result.verdict == Verdict.AGREE for result in beside):",
        "    if check == IMAGE:",
    ),
    Mutation(
        COMPARE,
        "    if check == EMULATOR or (check in (HOST_KERNEL, HOST_EMULATOR) and hosted):",
        "    if check in (EMULATOR, HOST_KERNEL):",
    ),
    Mutation(
        COMPARE,
        "    if check == EMULATOR or (check in (HOST_KERNEL, HOST_EMULATOR) and hosted):",
        "    if check == HOST_KERNEL and log_is_read:",
    ),
    Mutation(
        ATTRIBUTION,
        "    if reference.status == Status.NOT_REPORTED:\n"
        "        return _inconclusive(targets[Role.REFERENCE], reference)\n"
        "    if reference.bad:\n",
        "    if reference.bad:\n",
    ),
    Mutation(
        ATTRIBUTION,
        "        return Attribution(verdict=Verdict.INCONCLUSIVE, reason=reason)\n    distinct",
        "        return Attribution(verdict=both, reason=reason)\n    distinct",
    ),
    # Three sides that died: the reference has no say in what is said of the subject.
    Mutation(
        ATTRIBUTION,
        "    distinct = {targets[role]:",
        "    if subject.status == host.status == reference.status == Status.DIED:\n"
        "        return _inconclusive(targets[Role.REFERENCE], reference)\n"
        "    distinct = {targets[role]:",
    ),
    Mutation(JUDGE, "        or _suite_died(pairing.manifest, readings)\n", ""),
    # Repeated boots.
    Mutation(JUDGE, "MEANINGS[one].decided, not MEANINGS[one].diverges,", "not MEANINGS[one].diverges,"),
    Mutation(JUDGE, "MEANINGS[one].decided, not MEANINGS[one].diverges,", "MEANINGS[one].decided,"),
    Mutation(JUDGE, "not MEANINGS[one].diverges, -answers[one])", "not MEANINGS[one].diverges, answers[one])"),
    Mutation(JUDGE, "if outcome.verdict == shown), answers[shown]", "if outcome.verdict == shown), len(outcomes)"),
    Mutation(JUDGE, "    if len(answers) > 1 and MEANINGS[shown].decided:", "    if len(answers) > 1:"),
    Mutation(
        JUDGE,
        "    elif len(answers) == 1 and len({_values(outcome) for outcome in outcomes}) > 1:",
        "    elif len(answers) == 1 and len(outcomes) > 1:",
    ),
    Mutation(JUDGE, "    elif len(answers) > 1 and not chosen.unpaired:", "    elif not chosen.unpaired:"),
    Mutation(JUDGE, "{numbers[outcomes.index(chosen)]}", "{outcomes.index(chosen) + 1}"),
    Mutation(JUDGE, "            if _answer(one) in counted:\n", "            if _answer(one) not in counted:\n"),
    Mutation(
        JUDGE,
        "one.status, () if one.status.bad else tuple(sorted(one.record.fields.items()))",
        "one.status, ()",
    ),
    Mutation(
        JUDGE,
        "one.status, () if one.status.bad else tuple(sorted(one.record.fields.items()))",
        "one.status, tuple(sorted(one.record.fields.items()))",
    ),
    Mutation(JUDGE, "{**outcomes[0].evidence, role: one}", "outcomes[0].evidence"),
    Mutation(
        JUDGE,
        "            scope = _scope(pairing.manifest, check, parts, next(iter(boots[other].values())))\n",
        "            scope = ScreenScope.NOTHING\n",
    ),
    # Panics and the kernel's log.
    Mutation(LOGS, "        transcript = parse(reading.observation.words[:said])\n", "        pass\n"),
    Mutation(LOGS, "    during = transcript.died_in() or next(", "    during = next("),
    Mutation(LOGS, "pairing.reference.boots, Verdict.REFERENCE_WRONG),", "pairing.reference.boots, Verdict.DIFFER),"),
    Mutation(LOGS, "summary=summary), under, Verdict.DIFFER),", "summary=summary), under, Verdict.SUBJECT_WRONG),"),
    Mutation(LOGS, "[*([] if is_reference(pairing, host) else host.boots), *", "[*host.boots, *"),
    Mutation(LOGS, "host.boots), *pairing.subject.boots]", "host.boots)]"),
    Mutation(
        LOGS, "if not any(one.pattern and matches(one, [line]) for one in known)), lines[0])", "if True), lines[0])"
    ),
    Mutation(LOGS, "if not any(matches(one, [line]) for line in lines)] if _all_ran", "if False] if _all_ran"),
    Mutation(LOGS, "for line in lines)] if _all_ran(pairing, boots) else []", "for line in lines)]"),
    Mutation(
        LOGS, "    return msgspec.structs.replace(result, expected=False) if gone else result", "    return result"
    ),
    Mutation(LOGS, "    return pairing.whole and bool(boots) and all(", "    return bool(boots) and all("),
    Mutation(
        LOGS,
        "    if entries_of(pairing, about.check) and _all_ran(pairing, boots):",
        "    if _all_ran(pairing, boots):",
    ),
    # The sides of a result, and what covers it.
    Mutation(REPEAT, "            or is_reference(pairing, booted)\n", ""),
    Mutation(
        REPEAT,
        "            or (one.status == Status.NOT_REPORTED and not evidence[Role.SUBJECT].status.bad)\n",
        "",
    ),
    Mutation(
        REPEAT,
        "            or (one.status == Status.NOT_REPORTED and not evidence[Role.SUBJECT].status.bad)\n",
        "            or one.status == Status.NOT_REPORTED\n",
    ),
    Mutation(
        REPEAT, " in REPAIRED.get(one.verdict, ()) and describes(one, result)]", " in REPAIRED.get(one.verdict, ())]"
    ),
    Mutation(
        KNOWN,
        "    return known.verdict == result.verdict and describes(known, result)",
        "    return describes(known, result)",
    ),
]

# Edits that change nothing that anybody could read_boot, and why. At most one in twenty.
EQUIVALENT: list[tuple[Mutation, str]] = []
