"""Known and new: writing `[[known]]` entries, and judging a stored run anew with them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from difftest.authoring.accept import accept, entry
from difftest.case.case import load
from difftest.case.manifest import HOST_KERNEL, KnownDivergence, Manifest, as_toml
from difftest.case.suite import known_of
from difftest.cli import app
from difftest.errors import CaseError, StoreError
from difftest.history.rejudge import changes, rejudge
from difftest.judging.known import within
from difftest.judging.result import Result
from difftest.report.digest import standing
from difftest.run.metadata import Refusal
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import ExitCode, Verdict
from emulators.observation import Ending, KernelFault
from emulators.target import Names
from tests import sample_run as sample
from tests.sides import FAIL, PASS, boot, broken_off, judged, serial
from tests.sides import MANIFEST as MANIFEST_OF_SIDES

MANIFEST = """\
# What this case is about stays where it is.
name = "ept-pdpte-load"
image = "x.img"  # and so does this
end = "^Halt: .*"

[cpu_models]
bochs = "corei7_haswell_4770"  # the last table
"""


@pytest.fixture
def case(tmp_path: Path) -> Path:
    folder = tmp_path / "ept-pdpte-load"
    folder.mkdir()
    (folder / "x.img").write_bytes(sample.IMAGE)
    (folder / "case.toml").write_text(MANIFEST)
    return folder


@pytest.fixture
def run(tmp_path: Path, case: Path) -> StoredRun:
    """A run of that case, with one divergence that nobody knows."""
    snapshot = msgspec.structs.replace(sample.snapshot(), manifest=MANIFEST, argument=str(case))
    return sample.write_run(
        tmp_path / "results", manifest=msgspec.structs.replace(sample.MANIFEST, known=[]), case=snapshot
    )


def difftest(run: StoredRun, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--results", str(run.folder.parent)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_accepted_it_is_known_gone_it_is_told(run: StoredRun, case: Path) -> None:
    assert difftest(run, "judge")[0] == ExitCode.DIVERGED, "a new divergence"
    code, said = difftest(
        run, "accept", "not-present", "--reason", "a bug", "--link", "https://bug.example/1", "--kernels", ">=6,<7"
    )
    assert code == 0 and "[[known]]" in said
    text = (case / "case.toml").read_text()
    assert text.startswith(MANIFEST), "what stood there stands there, comments and all"
    (known,) = load(case).manifest.known
    assert known == KnownDivergence(
        check="not-present",
        verdict=Verdict.SUBJECT_WRONG,
        reason="a bug",
        link="https://bug.example/1",
        targets=["kvm-hosted"],
        kernels=">=6,<7",
        match={"exit_reason": "0x0", "vector": "0xd", "error_code": "0x0"},
    )
    code, said = difftest(run, "judge")
    assert code == ExitCode.EXPECTED and "KVM wrong (unexpected)" in said and "1 of them are others" in said
    assert StoredRun.open(run.folder).results(sample.CASE)[1].known == known, "the verdicts on disk are the new ones"

    (case / "case.toml").write_text(MANIFEST)
    assert difftest(run, "judge", "--dry-run")[0] == ExitCode.DIVERGED, "the entry removed"
    assert StoredRun.open(run.folder).results(sample.CASE)[1].expected, "a dry run keeps what is there"
    (case / "case.toml").write_text(
        text
        + as_toml(KnownDivergence(check="mapped", verdict=Verdict.SUBJECT_WRONG, reason="claimed", match={"a": "0x1"}))
    )
    code, said = difftest(run, "judge")
    assert code == ExitCode.DIVERGED and "a known divergence is gone: claimed" in said, (
        "one claimed that does not happen"
    )
    with pytest.raises(CaseError, match="does not any more"):
        difftest(run, "accept", "mapped", "--reason", "r")


def test_outside_of_its_kernels_a_known_one_is_new(run: StoredRun, case: Path) -> None:
    difftest(run, "accept", "not-present", "--reason", "a bug", "--kernels", "<6")
    assert difftest(run, "judge")[0] == ExitCode.DIVERGED
    difftest(run, "accept", "not-present", "--reason", "still there", "--kernels", ">=6")
    assert difftest(run, "judge")[0] == ExitCode.EXPECTED, "the second entry speaks of this kernel"


def test_of_two_entries_the_one_that_foresaw_the_verdict_counts(run: StoredRun, case: Path) -> None:
    for verdict in (Verdict.DIFFER, Verdict.SUBJECT_WRONG):
        accept(
            case / "case.toml", KnownDivergence(check="not-present", verdict=verdict, reason="r", pattern="exit_reason")
        )
    assert difftest(run, "judge")[0] == ExitCode.EXPECTED


@pytest.mark.parametrize(
    ("check", "kernels", "words"),
    [("mapped", "", "no divergence"), ("not-present", "six", "--kernels six"), ("none", "", "no check called")],
)
def test_what_cannot_be_accepted(run: StoredRun, case: Path, check: str, kernels: str, words: str) -> None:
    with pytest.raises((CaseError, StoreError), match=words):
        difftest(run, "accept", check, "--reason", "r", "--kernels", kernels)
    assert (case / "case.toml").read_text() == MANIFEST


def test_accepting_twice_is_told(run: StoredRun) -> None:
    difftest(run, "accept", "not-present", "--reason", "r")
    difftest(run, "judge")
    with pytest.raises(CaseError, match="known already"):
        difftest(run, "accept", "not-present", "--reason", "r")


def test_an_image_without_a_manifest_has_nowhere_to_write_to(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(sample.snapshot(), manifest="", argument=str(tmp_path / "disk.img"))
    run = sample.write_run(tmp_path, manifest=msgspec.structs.replace(sample.MANIFEST, known=[]), case=bare)
    with pytest.raises(CaseError, match="no case folder"):
        difftest(run, "accept", "not-present", "--reason", "r")


def test_entries_written_in_another_way_are_left_alone(case: Path) -> None:
    text = f'known = [{{ check = "mapped", verdict = "differ", reason = "r", pattern = "p" }}]\n{MANIFEST}'
    (case / "case.toml").write_text(text)
    with pytest.raises(CaseError, match="cannot be appended"):
        accept(case / "case.toml", KnownDivergence(check="not-present", verdict=Verdict.DIFFER, reason="r"))
    assert (case / "case.toml").read_text() == text


@given(st.text(max_size=80).filter(str.strip), st.text(max_size=40))
def test_any_reason_makes_a_manifest_that_can_be_read(reason: str, link: str) -> None:
    known = KnownDivergence(
        check="not-present", verdict=Verdict.SUBJECT_WRONG, reason=reason, link=link, targets=["kvm"]
    )
    read = msgspec.toml.decode(MANIFEST + as_toml(known))["known"]
    assert len(read) == 1 and read[0]["check"] == "not-present"


def test_an_entry_of_every_key_is_read_as_it_was_written() -> None:
    known = KnownDivergence(
        check=["a", "b/c"],
        verdict=Verdict.SHARED,
        reason='"quoted" \\ and | more',
        link="https://bug.example/1",
        targets=["kvm"],
        kernels=">=6",
        bochs="<3",
        host_bochs="==3.0.*",
        match={"vector": "0xd", "exit_reason": ["0x0", "0x30"], "odd name": "1"},
        pattern=r"a\.b",
        died=True,
    )
    text = f"{MANIFEST}\n{as_toml(known)}"
    assert msgspec.toml.decode(text, type=Manifest).known == [known]


def test_a_flaky_or_undecided_result_is_not_accepted_as_more_than_it_is() -> None:
    def of(result: Result) -> KnownDivergence:
        return entry(result, reason="r", link="", kernels="", bochs="", every_target=True)

    assert of(sample.result(Verdict.FLAKY, expected=False)).verdict == Verdict.FLAKY
    assert of(sample.result(Verdict.FLAKY, expected=False)).targets == []
    with pytest.raises(CaseError):
        of(sample.result(Verdict.INCONCLUSIVE, expected=False))


def test_judging_anew_gives_what_was_judged(run: StoredRun) -> None:
    (case,) = run.cases()
    manifest = msgspec.structs.replace(sample.MANIFEST, known=[])
    assert rejudge(run, case, manifest) == run.results(sample.CASE)
    assert changes(run.results(sample.CASE), rejudge(run, case, manifest)) == []


def test_a_rule_that_changed_changes_the_verdicts(run: StoredRun) -> None:
    (case,) = run.cases()
    stricter = msgspec.structs.replace(sample.MANIFEST, known=[], end="^Halt: .* never")
    changed = changes(run.results(sample.CASE), rejudge(run, case, stricter))
    assert changed == [], "how the boot ended is observed, not judged"
    broken = run.folder / "cases" / sample.CASE / "kvm-hosted" / "0" / "serial.bin"
    broken.write_bytes(sample.BAD.serial.replace(b"end checks=2", b"end checks=3"))
    lines = [change.words for change in changes(run.results(sample.CASE), rejudge(run, case, stricter))]
    assert len(lines) == 2 and all("-> inconclusive (unexpected)" in line for line in lines)


def test_what_was_refused_stays_as_it_was(run: StoredRun) -> None:
    (case,) = run.cases()
    tcg = Names(target="tcg", implementation="TCG")
    sides = {"statuses": "- -", "subject": tcg, "case": sample.CASE, "reason": "tcg has no vmx"}
    skipped = [
        sample.result(Verdict.SKIPPED, check=about.check, sdm=about.sdm, summary=about.summary, **sides)
        for about in sample.ABOUTS
    ]
    results = [*run.results(sample.CASE), *skipped]
    writer = RunWriter(run.folder, run.meta)
    writer.add_results(sample.CASE, results)
    writer.add_refusals(sample.CASE, [Refusal(target="tcg", verdict=Verdict.SKIPPED, reason="tcg has no vmx")])
    assert rejudge(run, case, msgspec.structs.replace(sample.MANIFEST, known=[])) == results


def test_without_a_word_of_why_a_target_was_not_booted_its_results_are_kept(run: StoredRun) -> None:
    """As schema 1 has them."""
    (case,) = run.cases()
    stored = sample.result(Verdict.SKIPPED, statuses="- -", case=sample.CASE, reason="it had no vmx")
    results = [*run.results(sample.CASE), stored]
    RunWriter(run.folder, run.meta).add_results(sample.CASE, results)
    assert rejudge(run, case, msgspec.structs.replace(sample.MANIFEST, known=[])) == results


# What an entry covers: the failure that it describes, and no other of the same check.
WARN = KernelFault(line="WARNING: CPU: 0 at nested.c:1", trace=["nested_vmx_vmexit"], in_kvm=True)
KASAN = KernelFault(line="BUG: KASAN: use-after-free in vmx_vcpu_run", trace=["vmx_vcpu_run"], in_kvm=True)


def entry_of(**says: object) -> KnownDivergence:
    known: dict[str, object] = {"check": "c0", "verdict": Verdict.SUBJECT_WRONG, "reason": "a known one", **says}
    return msgspec.convert(known, KnownDivergence)


def judged_with(
    known: list[KnownDivergence], said: bytes, ending: Ending = Ending.FINISHED, **fields: object
) -> Result:
    """The last result of a boot that said this, beside a reference that passes."""
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=known)
    reference = boot("bochs", serial(PASS), identity={"bochs": "2.7"})
    return judged([reference], [boot("kvm", said, ending, **fields)], manifest=manifest)[-1]


OTHER_VALUE = "FAIL exit_reason=0xa must.exit_reason=0x30"
TWO_FIELDS = "FAIL exit_reason=0x0 must.exit_reason=0x30 vector=0x6"


@pytest.mark.parametrize(
    ("says", "said", "ending", "covered"),
    [
        ({"match": {"exit_reason": "0x0"}}, serial(FAIL), Ending.FINISHED, True),
        ({"match": {"exit_reason": "0x0"}}, serial(OTHER_VALUE), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0", "vector": "0xd"}}, serial(TWO_FIELDS), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0", "vector": "0x6"}}, serial(TWO_FIELDS), Ending.FINISHED, True),
        ({"match": {"vector": "0xd"}}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x00"}}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": ["0xa", "0x0"]}}, serial(FAIL), Ending.FINISHED, True),
        ({"match": {"exit_reason": ["0xa", "0x00"]}}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}}, broken_off(), Ending.INTERNAL_ERROR, False),
        ({"pattern": "exit_reason is 0x0"}, serial(FAIL), Ending.FINISHED, True),
        ({"pattern": "exit_reason is 0x0"}, serial(OTHER_VALUE), Ending.FINISHED, False),
        ({"pattern": "in this check"}, broken_off(), Ending.INTERNAL_ERROR, False),
        ({"died": True}, broken_off(), Ending.INTERNAL_ERROR, True),
        ({"died": True}, broken_off(), Ending.QUIET, True),
        ({"died": True}, serial(FAIL), Ending.FINISHED, False),
        ({"died": True, "pattern": "triple-fault"}, broken_off(), Ending.INTERNAL_ERROR, False),
        ({"died": True, "pattern": "internal-error"}, broken_off(), Ending.INTERNAL_ERROR, True),
        ({"match": {"exit_reason": "0x0"}, "pattern": "0xa"}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "verdict": "flaky"}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "targets": ["kvm"]}, serial(FAIL), Ending.FINISHED, True),
        ({"match": {"exit_reason": "0x0"}, "targets": ["kvm-hosted"]}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "check": ["c1", "c0"]}, serial(FAIL), Ending.FINISHED, True),
        ({"match": {"exit_reason": "0x0"}, "check": "c1"}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "kernels": ">=5"}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "bochs": ">=5"}, serial(FAIL), Ending.FINISHED, False),
        ({"match": {"exit_reason": "0x0"}, "bochs": "<3"}, serial(FAIL), Ending.FINISHED, True),
        ({"match": {"exit_reason": "0x0"}, "host_bochs": "<3"}, serial(FAIL), Ending.FINISHED, False),
    ],
)
def test_what_an_entry_covers(says: dict[str, object], said: bytes, ending: Ending, covered: bool) -> None:
    """The kernel is not known in these boots, nor is there a Bochs that hosts: no range but that of all has them."""
    result = judged_with([entry_of(**says)], said, ending)
    assert result.verdict == Verdict.SUBJECT_WRONG
    assert (result.expected, result.known is not None) == (covered, covered)


def test_a_failure_that_no_entry_describes_names_the_one_that_is_known() -> None:
    result = judged_with([entry_of(match={"exit_reason": "0x7"})], serial(FAIL))
    assert standing(result) == "new" and "another divergence of this check is known: a known one" in result.hints


def test_an_entry_speaks_of_the_values_of_the_side_that_is_wrong() -> None:
    known = [entry_of(verdict="reference-wrong", match={"exit_reason": "0x0"})]
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=known)
    (result,) = judged([boot("bochs", serial(FAIL))], [boot("kvm", serial(PASS))], manifest=manifest)
    assert result.expected
    (result,) = judged([boot("bochs", serial(OTHER_VALUE))], [boot("kvm", serial(PASS))], manifest=manifest)
    assert not result.expected
    died = [entry_of(verdict="reference-wrong", died=True)]
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=died)
    results = judged([boot("bochs", broken_off(), Ending.RESET)], [boot("kvm", serial(PASS))], manifest=manifest)
    assert results[0].expected


def test_the_values_of_an_entry_need_not_differ_between_the_sides() -> None:
    known = [entry_of(verdict="both-wrong", match={"exit_reason": "0x0"})]
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=known)
    (result,) = judged([boot("bochs", serial(FAIL))], [boot("kvm", serial(FAIL))], manifest=manifest)
    assert result.expected and not result.fields[0].differs


def test_a_value_counts_where_the_other_side_has_the_field_for_another_purpose() -> None:
    """A field may be compared in one kind of exit and free in another, so that it is there twice."""
    reference = boot("bochs", serial(PASS + " free.exit_qualification=0x181"))
    subject = boot("kvm", serial(FAIL + " exit_qualification=0x1 must.exit_qualification=0x3"))
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=[entry_of(match={"exit_qualification": "0x1"})])
    (result,) = judged([reference], [subject], manifest=manifest)
    assert [field.name for field in result.fields].count("exit_qualification") == 2
    assert result.expected


REPAIRS = {
    # known verdict, what is left of it, and whether that is a repair
    "both-wrong": {"reference-wrong": True, "subject-wrong": True},
    "shared": {"reference-wrong": True, "subject-wrong": False},
    "subject-wrong": {"reference-wrong": False, "both-wrong": False},
}


@pytest.mark.parametrize(
    ("known", "left", "repair"), [(one, left, repair) for one, all_ in REPAIRS.items() for left, repair in all_.items()]
)
def test_what_is_left_of_a_divergence_when_one_side_is_repaired_is_not_new(known: str, left: str, repair: bool) -> None:
    sides = {"reference-wrong": (FAIL, PASS), "subject-wrong": (PASS, FAIL), "both-wrong": (FAIL, FAIL)}[left]
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=[entry_of(verdict=known, match={"exit_reason": "0x0"})])
    (result,) = judged([boot("bochs", serial(sides[0]))], [boot("kvm", serial(sides[1]))], manifest=manifest)
    assert result.verdict == left and not result.expected
    assert standing(result) == ("gone" if repair else "new")
    assert ("one side of a known divergence is repaired: a known one" in result.reason) is repair
    # Only if what is left is what the entry describes.
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=[entry_of(verdict=known, match={"exit_reason": "0x7"})])
    (result,) = judged([boot("bochs", serial(sides[0]))], [boot("kvm", serial(sides[1]))], manifest=manifest)
    assert (standing(result), result.known) == ("new", None)
    assert "another divergence of this check is known: a known one" in result.hints


def of_the_log(*patterns: str, **says: object) -> list[KnownDivergence]:
    return [entry_of(check=HOST_KERNEL, pattern=pattern, **says) for pattern in patterns]


@pytest.mark.parametrize(
    ("patterns", "faults", "expected", "line"),
    [
        (["nested.c"], [WARN], True, "nested.c"),
        (["nested.c"], [KASAN], False, "KASAN"),
        (["nested.c"], [WARN, KASAN], False, "KASAN"),
        (["nested.c"], [KASAN, WARN], False, "KASAN"),
        (["nested.c", "KASAN"], [WARN, KASAN], True, "nested.c"),
        ([], [WARN], False, "nested.c"),
    ],
)
def test_a_known_line_of_the_log_excuses_no_other(
    patterns: list[str], faults: list[KernelFault], expected: bool, line: str
) -> None:
    result = judged_with(of_the_log(*patterns), serial(PASS), kernel_faults=faults)
    assert (result.check, result.verdict) == (HOST_KERNEL, Verdict.SUBJECT_WRONG)
    assert result.expected is expected and line in result.reason


@pytest.mark.parametrize(
    ("says", "whole", "ending", "logged", "told"),
    [
        ({}, True, Ending.FINISHED, True, True),
        ({}, False, Ending.FINISHED, True, False),
        ({}, True, Ending.TRIPLE_FAULT, True, False),
        ({}, True, Ending.FINISHED, False, False),
        ({"targets": ["kvm-hosted"]}, True, Ending.FINISHED, True, False),
        ({"kernels": "<6"}, True, Ending.FINISHED, True, False),
    ],
)
def test_a_known_line_that_no_longer_shows_is_told(
    says: dict[str, object], whole: bool, ending: Ending, logged: bool, told: bool
) -> None:
    """Where all checks ran to the end, the log was read, and the entry speaks of this kernel and target."""
    manifest = msgspec.structs.replace(MANIFEST_OF_SIDES, known=of_the_log("nested.c", **says))
    logs = {"kernel.log": b"all is quiet\n"} if logged else {}
    subject = boot("kvm", serial(PASS), ending, logs=logs, identity={"kernel": "6.1"})
    results = judged([boot("bochs", serial(PASS))], [subject], manifest=manifest, whole=whole)
    found = [result for result in results if result.check == HOST_KERNEL]
    assert [(standing(one), one.verdict) for one in found] == [("gone", Verdict.AGREE)] * told
    assert all("a known divergence is gone: a known one" in one.reason for one in found)


def test_what_an_accepted_death_and_an_accepted_line_say(run: StoredRun) -> None:
    def of(result: Result) -> KnownDivergence:
        return entry(result, reason="r", link="", kernels="", bochs="", every_target=True)

    died = judged_with([], broken_off(), Ending.TRIPLE_FAULT)
    assert (of(died).died, of(died).match, of(died).pattern) == (True, {}, "")
    line = judged_with([], serial(PASS), kernel_faults=[WARN])
    assert of(line).pattern and not of(line).match
    for again in (
        judged_with([of(died)], broken_off(), Ending.TRIPLE_FAULT),
        judged_with([of(line)], serial(PASS), kernel_faults=[WARN]),
        judged_with([of(judged_with([], serial(TWO_FIELDS)))], serial(TWO_FIELDS)),
    ):
        assert again.expected, "what was accepted is covered"
    assert not judged_with([of(line)], serial(PASS), kernel_faults=[KASAN]).expected


@pytest.mark.parametrize(
    ("known", "words", "hint"),
    [
        ('verdict = "subject-wrong"', "it has no match, pattern or died", 'match = { vector = "0xd" }'),
        ('verdict = "inherited"\nmatch = { a = "0x1" }', "has the verdict 'inherited'", 'verdict = "shared"'),
        ('verdict = "subject-wrong"\npattern = "("', "pattern: no regular expression", ""),
    ],
)
def test_an_entry_that_says_too_little_is_an_error_with_one_that_does(
    case: Path, known: str, words: str, hint: str
) -> None:
    (case / "case.toml").write_text(f'{MANIFEST}\n[[known]]\ncheck = "mapped"\nreason = "r"\n{known}\n')
    with pytest.raises(CaseError) as caught:
        load(case)
    assert words in str(caught.value) and hint in (caught.value.hint or "")


@pytest.mark.parametrize("says", ['match = { a = "0x1" }', "died = true", ""])
def test_of_the_kernel_s_log_an_entry_has_a_pattern(case: Path, says: str) -> None:
    known = f'[[known]]\ncheck = "{HOST_KERNEL}"\nverdict = "subject-wrong"\nreason = "r"\n{says}\n'
    (case / "case.toml").write_text(f"{MANIFEST}\n{known}")
    with pytest.raises(CaseError, match="it has no pattern"):
        load(case)
    (case / "case.toml").write_text(f'{MANIFEST}\n{known}pattern = "nested.c"\n')
    assert load(case).manifest.known[0].pattern == "nested.c"


@pytest.mark.parametrize(
    ("specifiers", "version", "inside"),
    [
        ("", "6.1", True),
        ("", "", True),
        (">=5", "6.1.0-56-cloud-amd64", True),
        ("<5", "6.1", False),
        (">=5", "", False),
        (">=5", "unknown", False),
        ("nonsense", "6.1", False),
        ("<=3.0", "3.0+dfsg-1", True),
    ],
)
def test_a_version_that_is_not_known_lies_in_no_range(specifiers: str, version: str, inside: bool) -> None:
    assert within(specifiers, version) is inside


def test_a_whole_run_of_a_suite_is_accepted_into_the_suite_s_file(run: StoredRun, case: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text('name = "mine"\n')
    before = (case / "case.toml").read_text()
    code, said = difftest(run, "accept", "--all", "--reason", "as it is")
    assert code == ExitCode.EXPECTED and "known.toml: 1 entry" in said
    (entry,) = known_of(tmp_path)
    assert (entry.case, entry.checks, entry.reason) == ("ept-pdpte-load", ["not-present"], "as it is")
    assert (case / "case.toml").read_text() == before, "the manifest stays as it was"
    assert [one.reason for one in load(case).manifest.known] == ["as it is"]
    assert difftest(run, "judge")[0] == ExitCode.EXPECTED
    with pytest.raises(CaseError, match="no divergence that is not known"):
        difftest(run, "accept", "--all", "--reason", "again")


def test_accepting_takes_a_check_or_all(run: StoredRun) -> None:
    for words in ([], ["not-present", "--all"]):
        with pytest.raises(CaseError, match="name a check, or give --all"):
            difftest(run, "accept", *words, "--reason", "r")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[known]]\ncheck = "a"\nverdict = "differ"\nreason = "r"\npattern = "p"\n', "names no case"),
        ('[[known]]\ncase = "ept-pdpte-load"\ncheck = "a"\nverdict = "differ"\nreason = "r"\n', "has no match"),
        ("known = 1", "known"),
    ],
)
def test_a_suite_s_file_that_does_not_hold_is_an_error(case: Path, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "suite.toml").write_text('name = "mine"\n')
    (tmp_path / "known.toml").write_text(text)
    with pytest.raises(CaseError, match=words):
        load(case)
