"""What records of L0's exits say when runs are compared."""

from __future__ import annotations

import msgspec
import pytest

from difftest.commands.bisect import _tell_who
from difftest.history.bisect import CheckState, Search, State, Trial
from difftest.history.carried_out import by_l0, hint
from difftest.history.compare import compare
from difftest.report.digest import digest
from difftest.report.lookup import found
from difftest.report.words import decide
from difftest.run.store import StoredRun
from tests.test_captured import DATA, captured

CHECK = ("pdpte", "P-09/wp", "kvm-hosted")


def test_a_run_with_a_record_says_who_carried_it_out() -> None:
    run = captured("exits")
    assert by_l0(run, *CHECK) is False, "KVM of 6.1 leaves WP to the CPU"
    assert by_l0(run, "pdpte", "no-such-check", "kvm-hosted") is None
    assert by_l0(captured("shared"), *CHECK) is None, "it has no record"


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ({"Linux 5.10": True, "Linux 6.1": False}, True),
        ({"Linux 5.10": True, "Linux 6.1": True}, False),
        ({"Linux 5.10": None, "Linux 6.1": False}, False),
    ],
)
def test_who_does_it_is_told_where_versions_differ_in_it(who: dict[str, bool | None], said: bool) -> None:
    words = hint(who)
    assert ("carried out instructions of this check on Linux 5.10" in words) is said
    assert ("left them to the CPU under it on Linux 6.1" in words) is said


def test_a_comparison_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = captured("exits")
    older = StoredRun(run.folder, msgspec.structs.replace(run.meta, run="older"))
    monkeypatch.setattr("difftest.history.compare.by_l0", lambda one, *_: one is older)
    rows = {row.check: row.hint for row in compare([older, run]).rows}
    assert "L0 carried out instructions of this check on run older" in rows["P-09/wp"].replace("  ", " ")


def test_a_shared_failure_without_a_record_names_the_command_that_makes_one() -> None:
    for name, command in (
        ("shared", "difftest run pdpte -k P-09/wp --target kvm-hosted --kernel 6.1 --exits"),
        ("exits", ""),
        ("kvm-wrong", ""),
    ):
        run = captured(name)
        last = run.all_results()[-1]
        pair, result = found(digest(run), f"{last.case}/{last.check}")
        assert decide(pair, result) == command


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (("shared", "exits"), "difftest run pdpte -k P-09/wp --target kvm-hosted --exits --kernel 5.10 --kernel 6.1"),
        (("gone", "exits"), "difftest run pdpte -k P-09/wp --target kvm-hosted --exits --kernel 5.10 --kernel 6.1"),
        (("exits", "exits"), ""),
    ],
)
def test_a_search_says_who_does_it_or_how_to_see_that(
    runs: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = ("5.10", "6.1")
    tried = {kernel: Trial(shows=CheckState.GOOD, said="", run=run) for kernel, run in zip(kernels, runs, strict=True)}
    state = State(case="pdpte", check="P-09/wp", image_sha256="", others={}, tried=tried)
    _tell_who(Search(good="5.10", bad="6.1"), state, DATA / "captured", "pdpte")
    said = capsys.readouterr().out
    assert words in said and bool(said) == bool(words)


def test_a_search_between_one_that_does_it_and_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = {kernel: Trial(shows=CheckState.GOOD, said="", run="exits") for kernel in ("5.10", "6.1")}
    state = State(case="pdpte", check="P-09/wp", image_sha256="", others={}, tried=tried)
    answers = iter([True, False])
    monkeypatch.setattr("difftest.history.carried_out.by_l0", lambda *_: next(answers))
    _tell_who(Search(good="5.10", bad="6.1"), state, DATA / "captured", "pdpte")
    assert "on Linux 5.10, and left them to the CPU under it on Linux 6.1" in capsys.readouterr().out
