"""What a run ends with, by its results."""

from __future__ import annotations

from difftest.verdict import ExitCode, Verdict, exit_code
from tests.sample_run import result


def test_exit_codes() -> None:
    def code(*pairs: tuple[Verdict, bool], **options: bool) -> ExitCode:
        return exit_code([result(verdict, expected=expected) for verdict, expected in pairs], **options)

    assert code((Verdict.INCONCLUSIVE, False), (Verdict.SUBJECT_WRONG, True)) == ExitCode.NO_VERDICT
    assert code((Verdict.INCONCLUSIVE, False), (Verdict.FLAKY, False)) == ExitCode.DIVERGED
    assert code((Verdict.AGREE, False)) == ExitCode.DIVERGED


def test_a_run_that_compared_nothing_is_not_as_expected() -> None:
    agree = result(Verdict.AGREE)
    by_image = result(Verdict.SKIPPED, statuses="PASS SKIP")
    refused = result(Verdict.SKIPPED, statuses="- -")
    for results in ([], [by_image], [refused], [by_image, refused], [agree, refused]):
        assert exit_code(results) == ExitCode.NO_VERDICT, results
        assert exit_code(results, allow_skips=True) == ExitCode.EXPECTED
    assert exit_code([agree, by_image]) == ExitCode.EXPECTED, "a feature that the CPU does not have"
    diverges = result(Verdict.DIFFER, expected=False)
    for results in ([diverges, refused], [refused, diverges]):
        assert exit_code(results) == exit_code(results, allow_skips=True) == ExitCode.DIVERGED
    unknown = result(Verdict.INCONCLUSIVE, expected=False)
    assert exit_code([unknown], allow_skips=True) == ExitCode.NO_VERDICT
