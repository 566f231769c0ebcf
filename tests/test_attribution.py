"""Whose fault it is: one table of all that the three sides can give, with the verdict on each row."""

from __future__ import annotations

import itertools

import pytest

from difftest.case.manifest import About
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading
from difftest.verdict import Verdict
from emulators.observation import Ending
from tests.sides import BOCHS, FAIL, PASS, SKIP, boot, broken_off, judged, serial

# What a side gives. "alike" and "otherwise" break the same requirement, with two values; a subject that fails is
# "alike".
OTHERWISE = "FAIL exit_reason=0xa must.exit_reason=0x30"
GIVES = {
    "pass": (serial(PASS), Ending.FINISHED),
    "alike": (serial(FAIL), Ending.FINISHED),
    "otherwise": (serial(OTHERWISE), Ending.FINISHED),
    "skip": (serial(SKIP), Ending.FINISHED),
    "died": (broken_off(), Ending.TRIPLE_FAULT),
    "none": (broken_off(), Ending.CRASH),
}
DOUBT = "or the check is wrong: all {} sides say the same"
REFERENCES = tuple(GIVES)  # the columns of the tables, in their order

VERDICTS = {
    "agree": Verdict.AGREE,
    "KVM": Verdict.SUBJECT_WRONG,
    "Bochs": Verdict.REFERENCE_WRONG,
    "both": Verdict.BOTH_WRONG,
    "shared": Verdict.SHARED,
    "skip": Verdict.SKIPPED,
    "?": Verdict.INCONCLUSIVE,
}

# One row for what the subject and the CPU under it give, one column for what the reference gives. The CPU under the
# subject decides what is said of a subject that fails; of one that does not, it says nothing.
HOSTED = """
subject  host CPU   |  pass    alike   otherwise  skip    died    none
pass     pass       |  agree   Bochs   Bochs      skip    Bochs   ?
pass     alike      |  agree   Bochs   Bochs      skip    Bochs   ?
pass     otherwise  |  agree   Bochs   Bochs      skip    Bochs   ?
pass     skip       |  agree   Bochs   Bochs      skip    Bochs   ?
pass     died       |  agree   Bochs   Bochs      skip    Bochs   ?
pass     none       |  agree   Bochs   Bochs      skip    Bochs   ?
alike    pass       |  KVM     both    both       KVM     both    KVM
alike    alike      |  shared  shared  shared     shared  shared  shared
alike    otherwise  |  shared  shared  shared     shared  shared  shared
alike    skip       |  KVM     both    both       KVM     both    KVM
alike    died       |  shared  shared  shared     shared  shared  shared
alike    none       |  ?       ?       ?          ?       ?       ?
skip     pass       |  skip    Bochs   Bochs      skip    Bochs   ?
skip     alike      |  skip    Bochs   Bochs      skip    Bochs   ?
skip     otherwise  |  skip    Bochs   Bochs      skip    Bochs   ?
skip     skip       |  skip    Bochs   Bochs      skip    Bochs   ?
skip     died       |  skip    Bochs   Bochs      skip    Bochs   ?
skip     none       |  skip    Bochs   Bochs      skip    Bochs   ?
died     pass       |  KVM     both    both       KVM     both    KVM
died     alike      |  shared  shared  shared     shared  shared  shared
died     otherwise  |  shared  shared  shared     shared  shared  shared
died     skip       |  KVM     both    both       KVM     both    KVM
died     died       |  shared  shared  shared     shared  shared  shared
died     none       |  ?       ?       ?          ?       ?       ?
none     pass       |  ?       ?       ?          ?       ?       ?
none     alike      |  ?       ?       ?          ?       ?       ?
none     otherwise  |  ?       ?       ?          ?       ?       ?
none     skip       |  ?       ?       ?          ?       ?       ?
none     died       |  ?       ?       ?          ?       ?       ?
none     none       |  ?       ?       ?          ?       ?       ?
"""

# The same where no emulated CPU is under the subject.
NATIVE = """
subject             |  pass    alike   otherwise  skip    died    none
pass                |  agree   Bochs   Bochs      skip    Bochs   ?
alike               |  KVM     both    both       KVM     both    ?
skip                |  skip    Bochs   Bochs      skip    Bochs   ?
died                |  KVM     both    both       KVM     ?       ?
none                |  ?       ?       ?          ?       ?       ?
"""


def rows(table: str) -> list[tuple[tuple[str, ...], Verdict]]:
    """(subject, [host CPU,] reference) and the verdict."""
    heading, *lines = [line.partition("|") for line in table.strip().splitlines()]
    assert tuple(heading[2].split()) == REFERENCES
    return [
        ((*sides.split(), reference), VERDICTS[word])
        for sides, _, words in lines
        for reference, word in zip(REFERENCES, words.split(), strict=True)
    ]


def gave(target: str, what: str) -> list[BootReading]:
    said, ending = GIVES[what]
    return [boot(target, said, ending)]


def judged_by(subject: str, host: str | None, reference: str) -> Result:
    """The verdict on the check. `host` is None where no emulated CPU is under the subject."""
    under = None if host is None else gave("host-cpu", host)
    results = judged(gave("bochs", reference), gave("kvm", subject), under, abouts=[About(check="c0")])
    return next(result for result in results if result.check == "c0")


def test_the_tables_have_all_there_is() -> None:
    subjects = [one for one in GIVES if one != "otherwise"]
    assert [sides for sides, _ in rows(HOSTED)] == list(itertools.product(subjects, GIVES, GIVES))
    assert [sides for sides, _ in rows(NATIVE)] == list(itertools.product(subjects, GIVES))
    assert len(rows(HOSTED)) == 5 * 6 * 6 and len(rows(NATIVE)) == 5 * 6


def readable(sides: tuple[str, ...]) -> str:
    return "-".join(sides)


@pytest.mark.parametrize(("sides", "verdict"), [pytest.param(*row, id=readable(row[0])) for row in rows(HOSTED)])
def test_three_sides(sides: tuple[str, str, str], verdict: Verdict) -> None:
    result = judged_by(*sides)
    assert result.verdict == verdict, result.reason
    subject, host, _ = sides
    needed = host != "none" or subject not in ("pass", "skip", "none")
    roles = [role for role in Role if needed or role != Role.HOST_CPU]
    assert [side.role for side in result.sides] == roles, (
        "the CPU under the subject is stored, too, if it says anything"
    )


@pytest.mark.parametrize(("sides", "verdict"), [pytest.param(*row, id=readable(row[0])) for row in rows(NATIVE)])
def test_two_sides(sides: tuple[str, str], verdict: Verdict) -> None:
    subject, reference = sides
    result = judged_by(subject, None, reference)
    assert result.verdict == verdict, result.reason
    assert [side.role for side in result.sides] == [Role.REFERENCE, Role.SUBJECT]


SAID_OF_THE_SUBJECT = {
    Verdict.SUBJECT_WRONG: "wrong",
    Verdict.BOTH_WRONG: "wrong",
    Verdict.SHARED: "shared",
    Verdict.AGREE: "right",
    Verdict.REFERENCE_WRONG: "not wrong",
    Verdict.SKIPPED: "not wrong",
    Verdict.INCONCLUSIVE: "no verdict",
}


@pytest.mark.parametrize("host", [one for one in GIVES if one != "none"])
@pytest.mark.parametrize("subject", ["alike", "died"])
def test_what_is_said_of_a_subject_that_fails_does_not_depend_on_the_reference(subject: str, host: str) -> None:
    said = {SAID_OF_THE_SUBJECT[judged_by(subject, host, reference).verdict] for reference in GIVES}
    assert said in ({"wrong"}, {"shared"})


@pytest.mark.parametrize("host", GIVES)
@pytest.mark.parametrize("subject", ["pass", "skip"])
def test_a_subject_that_breaks_nothing_is_never_wrong(subject: str, host: str) -> None:
    said = {SAID_OF_THE_SUBJECT[judged_by(subject, host, reference).verdict] for reference in GIVES}
    assert not said & {"wrong", "shared"}


@pytest.mark.parametrize("reference", GIVES)
def test_without_the_cpu_under_it_nothing_is_said_of_a_subject_that_fails(reference: str) -> None:
    """Neither where that CPU gave nothing nor where it could not be had."""
    for host in (gave("host-cpu", "none"), "the hosting Bochs has no debugger", []):
        results = judged(gave("bochs", reference), gave("kvm", "alike"), host, abouts=[About(check="c0")])
        result = next(one for one in results if one.check == "c0")
        assert result.verdict == Verdict.INCONCLUSIVE
        assert "exit_reason is 0x0, the SDM requires 0x30" in result.reason, "what the subject did is told all the same"
        assert result.host_cpu is not None and result.host_cpu.status == "-"
    assert "whether the CPU under it does the same was not observed" in result.reason
    (missing,) = judged(gave("bochs", "pass"), gave("kvm", "alike"), "no debugger", host_names=BOCHS)
    assert missing.reason.endswith("no debugger")
    assert missing.fields[0].values == {"bochs": "0x30", "kvm": "0x0"}, "what was observed is shown all the same"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_sha256_after": "1" * 64}, "bytes changed"),
        ({"alarms": ["serial output lost"]}, "serial output lost"),
        ({"image_sha256": "1" * 64, "image_sha256_after": "1" * 64}, "did not boot the same bytes"),
    ],
)
def test_an_unfit_boot_of_the_cpu_under_it_decides_nothing(fields: dict[str, object], words: str) -> None:
    under = [boot("host-cpu", serial(PASS), **fields)]
    (result,) = judged(gave("bochs", "pass"), gave("kvm", "alike"), under)
    assert result.verdict == Verdict.INCONCLUSIVE and words in result.reason
    (agreed,) = judged(gave("bochs", "pass"), gave("kvm", "pass"), under)
    assert agreed.verdict == Verdict.AGREE, "nobody asks it where the subject is right"


def with_reference_under(subject: str, both: str) -> Result:
    """The reference is the very CPU under the subject: its boots stand for both."""
    boots = gave("bochs", both)
    results = judged(boots, gave("kvm", subject), boots, host_names=BOCHS, abouts=[About(check="c0")])
    return next(result for result in results if result.check == "c0")


REFERENCE_UNDER = """
subject             |  pass    alike   otherwise  skip    died    none
pass                |  agree   Bochs   Bochs      skip    Bochs   ?
alike               |  KVM     shared  shared     KVM     shared  ?
skip                |  skip    Bochs   Bochs      skip    Bochs   ?
died                |  KVM     shared  shared     KVM     shared  ?
none                |  ?       ?       ?          ?       ?       ?
"""


@pytest.mark.parametrize(
    ("sides", "verdict"), [pytest.param(*row, id=readable(row[0])) for row in rows(REFERENCE_UNDER)]
)
def test_a_reference_that_is_the_very_cpu_under_the_subject(sides: tuple[str, str], verdict: Verdict) -> None:
    result = with_reference_under(*sides)
    assert result.verdict == verdict, result.reason
    assert [side.role for side in result.sides] == [Role.REFERENCE, Role.SUBJECT], "it is one side, told once"
    if verdict == Verdict.SHARED:
        assert result.wrong == [result.reference], "the CPU is wrong for certain"


def test_a_reference_that_is_the_very_cpu_doubts_a_check_as_one_side() -> None:
    assert DOUBT.format(2) in with_reference_under("alike", "alike").hints
    assert not [hint for hint in with_reference_under("alike", "otherwise").hints if "the check is wrong" in hint]


def test_alike_is_the_same_requirement_broken_with_the_same_value() -> None:
    for host, words in (("alike", "in the same way"), ("otherwise", "in another way (exit_reason is 0xa")):
        assert words in judged_by("alike", host, "pass").reason
    more = boot("host-cpu", serial(FAIL + " must.cr0=0x1 cr0=0x0"))
    (result,) = judged(gave("bochs", "pass"), gave("kvm", "alike"), [more])
    assert "in another way" in result.reason, "it breaks one more"
    beside = boot("host-cpu", serial(FAIL + " rip_offset=0x7"))
    (result,) = judged(gave("bochs", "pass"), gave("kvm", "alike"), [beside])
    assert "in the same way" in result.reason, "a field without a requirement makes no difference"
    unsaid = [boot("kvm", serial("FAIL cr0=0x1"))]
    (result,) = judged(gave("bochs", "pass"), unsaid, [boot("host-cpu", serial("FAIL cr0=0x2"))])
    assert "in the same way" in result.reason, "neither says what it should have been"
    (result,) = judged(gave("bochs", "pass"), unsaid, gave("host-cpu", "died"))
    assert "in another way" in result.reason
    hung = [boot("host-cpu", broken_off(), Ending.QUIET)]
    results = judged(gave("bochs", "pass"), gave("kvm", "died"), hung)
    assert "in another way (the guest hung" in results[0].reason
    results = judged(gave("bochs", "pass"), gave("kvm", "died"), gave("host-cpu", "died"))
    assert "in the same way" in results[0].reason


def test_a_shared_failure_names_what_would_decide_it_and_the_cpu_that_shares_it() -> None:
    identity = {"bochs": "3.0", "cpu model": "corei7_haswell_4770"}
    (result,) = judged(gave("bochs", "pass"), gave("kvm", "alike"), [boot("host-cpu", serial(FAIL), identity=identity)])
    assert "Bochs 3.0 (corei7_haswell_4770), the CPU under it, breaks the SDM in the same way" in result.reason
    (hint,) = result.hints
    assert all(words in hint for words in ("L0 handles", "real VMX hardware", "Bochs in which this is fixed"))
    assert result.wrong == [result.host_cpu]


def test_a_check_that_its_own_cpu_skips_says_so() -> None:
    result = judged_by("alike", "skip", "pass")
    assert result.verdict == Verdict.SUBJECT_WRONG
    assert "skips the check (no VMX)" in result.hints[0]


@pytest.mark.parametrize(
    ("subject", "host", "reference", "hint"),
    [
        ("alike", None, "alike", DOUBT.format(2)),
        ("alike", None, "otherwise", ""),
        ("alike", "alike", "alike", DOUBT.format(3)),
        ("alike", "otherwise", "alike", ""),
        ("alike", "alike", "pass", ""),
        ("alike", "alike", "none", ""),
        ("alike", "pass", "alike", ""),
    ],
)
def test_where_all_sides_fail_alike_the_check_is_doubted(
    subject: str, host: str | None, reference: str, hint: str
) -> None:
    found = [one for one in judged_by(subject, host, reference).hints if "the check is wrong" in one]
    assert found == ([hint] if hint else [])


def test_two_that_fail_otherwise_are_both_told() -> None:
    reason = judged_by("alike", None, "otherwise").reason
    assert reason == (
        "exit_reason is 0x0, the SDM requires 0x30; the reference otherwise: exit_reason is 0xa, the SDM requires 0x30"
    )
    assert "otherwise" not in judged_by("alike", None, "alike").reason


# What the SDM leaves open: only the values can differ. `a` and `b` are two values.
OPEN = """
subject  host CPU  reference | verdict  hint
a        -         a         | agree    -
a        -         b         | differ   -
a        a         a         | agree    -
a        a         b         | differ   as-the-cpu
a        b         b         | differ   from-both
b        b         a         | differ   as-the-cpu
a        c         b         | differ   -
"""
HINTS = {"as-the-cpu": "does as the CPU under it", "from-both": "differs from the reference and from the CPU under it"}


@pytest.mark.parametrize("row", OPEN.strip().splitlines()[1:])
def test_open_checks(row: str) -> None:
    subject, host, reference, _, verdict, hint = row.split()

    def of(target: str, letter: str) -> list[BootReading]:
        return [boot(target, serial(f"OPEN value=0x{letter}"))]

    (result,) = judged(of("bochs", reference), of("kvm", subject), None if host == "-" else of("host-cpu", host))
    assert result.verdict == verdict
    if verdict == "differ":
        assert "the sides differ in value" in result.reason
    assert [words in one for one in result.hints for words in (HINTS.get(hint, "nothing"),)] == [True] * (hint != "-")


# Of four checks in which one kernel leaves to the CPU what another does itself: what failed and what passed on Bochs
# 3.0, whose fault they are. A kernel that passes does not make the one that fails wrong.
TRAPS = {
    "P-09/wp": (
        "FAIL setting_fault=0x1 must.setting_fault=0x0 setting_vector=0xd setting_changed_bits=0x0 "
        "must.setting_changed_bits=0x10000",
        "PASS setting_fault=0x0 must.setting_fault=0x0 setting_changed_bits=0x10000 must.setting_changed_bits=0x10000",
    ),
    "L2-19/wp": (
        "FAIL exit_reason=0x30 must.exit_reason=0x12 eax=0x80010031 must.eax=0x600d cr0=0x80000031 "
        "must.cr0=0x80010031 guest_physical_address=0x118000",
        "PASS exit_reason=0x12 must.exit_reason=0x12 eax=0x600d must.eax=0x600d cr0=0x80010031 must.cr0=0x80010031",
    ),
    "L2-24/accessed-dirty": (
        "FAIL exit_reason=0x30 must.exit_reason=0x30 exit_qualification_access=0x2 must.exit_qualification_access=0x3",
        "PASS exit_reason=0x30 must.exit_reason=0x30 exit_qualification_access=0x3 must.exit_qualification_access=0x3",
    ),
    "F-09": (
        "FAIL exit_reason=0x12 must.exit_reason=0x80000021",
        "PASS exit_reason=0x80000021 must.exit_reason=0x80000021",
    ),
}


def named(check: str, record: str) -> bytes:
    return serial(record).replace(b" c0", f" {check}".encode())


def trap(check: str, kernel_passes: bool, reference: str) -> Result:
    """One kernel on a CPU that fails the check."""
    wrong, right = TRAPS[check]
    said = {"pass": named(check, right), "fail": named(check, wrong)}
    results = judged(
        [boot("bochs", said[reference])],
        [boot("kvm", said["pass" if kernel_passes else "fail"])],
        [boot("host-cpu", said["fail"])],
    )
    assert results[0].check == check
    return results[0]


@pytest.mark.parametrize("reference", ["pass", "fail"])
@pytest.mark.parametrize("check", TRAPS)
def test_what_a_kernel_leaves_to_a_cpu_that_fails_is_not_the_kernel_s_fault(check: str, reference: str) -> None:
    left, done = trap(check, False, reference), trap(check, True, reference)
    assert left.verdict == Verdict.SHARED and "in the same way" in left.reason
    assert left.wrong == [left.host_cpu]
    assert done.verdict == (Verdict.AGREE if reference == "pass" else Verdict.REFERENCE_WRONG)
