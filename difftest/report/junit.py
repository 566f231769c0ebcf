"""A run as JUnit XML, for CI. A known divergence is reported as skipped, as test runners report an expected failure."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from difftest.judging.result import Result
from difftest.report.digest import Pair, digest, standing
from difftest.report.field_values import spelled
from difftest.report.words import called, paragraph, reproduce, required
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict

LONGEST = 8000  # characters of one text


def junit(run: StoredRun) -> bytes:
    """A test suite for each case and subject, a test case for each check. Raises StoreError for a run that cannot be
    read.
    """
    whole = digest(run)
    xml = JUnitXml(name=_text(f"difftest {whole.meta.run}"))
    suites = [_suite(pair, whole.meta.started) for pair in whole.pairs]
    for suite in suites:
        xml.append(suite)  # add_testsuite would merge suites of one name
    xml.update_statistics()
    for pair, suite in zip(whole.pairs, suites, strict=True):
        # The boots' time, which many checks share: the library adds up the checks'.
        seconds = sum(reading.observation.seconds.get("whole", 0.0) for side in pair.sides for reading in side.boots)
        suite.time = round(seconds, 3)
    data: bytes = xml.tostring()
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + data + b"\n"


def _suite(pair: Pair, started: str) -> TestSuite:
    suite = TestSuite(_text(f"{pair.case.name} on {pair.subject.names.target}"))
    suite.timestamp = _text(started.partition("+")[0])
    cases = []
    for result in pair.results:
        case = TestCase(_text(result.check), classname=_text(f"{result.case}.{result.subject.target}"))
        if outcome := _outcome(result):
            case.result = [outcome]
        case.system_out = _text("\n".join(_lines(pair, result)))
        cases.append(case)
    suite.add_testcases(cases)  # one by one, each is counted again with all before it
    return suite


def _outcome(result: Result) -> FinalResult | None:
    words = _text(f"{result.label}: {result.reason}")
    if not MEANINGS[result.verdict].decided:
        return Error(words, type_=result.verdict.value)
    if result.verdict == Verdict.SKIPPED:
        return Skipped(words, type_=result.verdict.value)
    if not result.expected:
        return Failure(words, type_=standing(result))
    return Skipped(f"known: {words}", type_="known") if MEANINGS[result.verdict].diverges else None


def _lines(pair: Pair, result: Result) -> list[str]:
    lines = [paragraph(result), f"Intel SDM: {result.sdm}" if result.sdm else ""]
    for field in result.fields:
        gave = {side.target: spelled(field.name, field.values.get(side.target, "absent")) for side in result.sides}
        values = [f"{called(side)} {gave[side.target]}" for side in result.sides]
        wanted = ", ".join(required(result, field))
        of = f", the SDM requires {wanted}" if wanted else ""
        lines.append(f"{'!=' if field.differs else '  '} {field.name}: {', '.join(values)}{of}")
    return [*lines, f"again: {reproduce(pair, result)}"]


def _text(words: str) -> str:
    return visible(words, LONGEST, lines=True)
