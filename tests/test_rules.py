"""The judge's rules beyond the table of sides: requirements that depend on the CPU, checks that hang, panics of the
emulator, repeated boots, and the kernel's log.
"""

from __future__ import annotations

import msgspec
import pytest

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL, About, KnownDivergence
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.report.words import paragraph
from difftest.verdict import ExitCode, Verdict, exit_code
from emulators.observation import Ending, KernelFault
from tests.sides import BOCHS, FAIL, HOST_CPU, MANIFEST, PASS, SKIP, boot, broken_off, judged, serial


def pair(left: str, right: str, host: str | None = None) -> Result:
    """The result of one check."""
    under = [boot("host-cpu", serial(host))] if host else None
    (result,) = judged([boot("bochs", serial(left))], [boot("kvm", serial(right))], under)
    return result


class TestWhatIsRequiredDependsOnTheCpu:
    """Each side has its own requirement; both may be met with two values."""

    NARROW = "PASS width={0} must.width=0x24 a=0x1"
    WIDE = "PASS width={0} must.width=0x28 a=0x1"

    def test_both_meet_their_own(self) -> None:
        result = pair(self.NARROW.format("0x24"), self.WIDE.format("0x28"))
        assert result.verdict == Verdict.AGREE
        (width, _) = result.fields
        assert width.required == {"bochs": "0x24", "kvm": "0x28"} and not width.differs

    @pytest.mark.parametrize(
        ("left", "right", "verdict", "reason"),
        [
            ("0x24", "0x24", Verdict.SUBJECT_WRONG, "width is 0x24, the SDM requires 0x28"),
            ("0x28", "0x28", Verdict.REFERENCE_WRONG, "width is 0x28, the SDM requires 0x24"),
            ("0x28", "0x24", Verdict.BOTH_WRONG, "width is 0x24, the SDM requires 0x28"),
        ],
    )
    def test_who_does_not_meet_its_own_is_wrong(self, left: str, right: str, verdict: Verdict, reason: str) -> None:
        """Although the two give the same, or what the other should."""
        told = [
            form.format(value).replace("PASS", "PASS" if value == met else "FAIL")
            for form, value, met in ((self.NARROW, left, "0x24"), (self.WIDE, right, "0x28"))
        ]
        result = pair(*told)
        assert result.verdict == verdict and reason in result.reason

    def test_who_gives_what_nobody_asked_for_differs(self) -> None:
        result = pair(self.NARROW.format("0x24"), self.WIDE.format("0x30").replace("PASS", "FAIL"))
        assert result.fields[0].differs and result.verdict == Verdict.SUBJECT_WRONG

    def test_another_field_that_differs_still_counts(self) -> None:
        result = pair(self.NARROW.format("0x24"), self.WIDE.format("0x28").replace("a=0x1", "a=0x2"))
        assert result.verdict == Verdict.DIFFER and "differ in a," in result.reason

    def test_a_requirement_of_one_side_alone_excuses_no_difference(self) -> None:
        assert pair("PASS a=0x1 must.a=0x1", "PASS a=0x2").verdict == Verdict.DIFFER

    def test_each_requirement_is_told_of_its_side(self) -> None:
        words = paragraph(pair(self.NARROW.format("0x24"), self.WIDE.format("0x24").replace("PASS", "FAIL")))
        assert "Bochs gave 0x24 (required there: 0x24), KVM gave 0x24 (required there: 0x28)" in words
        assert "the SDM requires" in words and "For width the SDM requires" not in words

    def test_the_cpu_under_it_is_held_to_its_own(self) -> None:
        wrong = self.WIDE.format("0x24").replace("PASS", "FAIL")
        assert pair(self.NARROW.format("0x24"), wrong, self.NARROW.format("0x24")).verdict == Verdict.SUBJECT_WRONG
        assert pair(self.NARROW.format("0x24"), wrong, wrong).verdict == Verdict.SHARED


class TestChecksThatHang:
    """Hanging where an exit is required is that check's own end, and no other check's."""

    @pytest.mark.parametrize("ending", [Ending.HALTED, Ending.QUIET])
    def test_it_is_the_check_s_own(self, ending: Ending) -> None:
        left = [boot("bochs", serial(PASS, PASS))]
        first, second = judged(left, [boot("kvm", broken_off(PASS), ending)])
        assert first.verdict == Verdict.AGREE, "what was reported before was reported"
        assert (second.verdict, second.subject.status) == (Verdict.SUBJECT_WRONG, "DIED")
        assert "the guest hung in this check" in second.reason and ending in second.reason

    def test_a_boot_that_ends_in_order_in_a_check_has_not_reported_it(self) -> None:
        for ending in (Ending.FINISHED, Ending.POWER_OFF):
            (result,) = judged([boot("bochs", serial(PASS))], [boot("kvm", broken_off(), ending)])
            assert (result.verdict, result.subject.status) == (Verdict.SUBJECT_WRONG, "DIED")

    def test_a_hang_between_two_checks_is_nobody_s(self) -> None:
        said = serial(PASS, PASS).partition(b"difftest 1 start c1")[0]
        results = judged([boot("bochs", serial(PASS, PASS))], [boot("kvm", said, Ending.QUIET)])
        assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE] * 2


class TestDeaths:
    def test_what_is_left_open_does_not_excuse_a_death(self) -> None:
        dead = boot("kvm", broken_off(), Ending.TRIPLE_FAULT)
        (result,) = judged([boot("bochs", serial("OPEN a=0x1"))], [dead])
        assert (result.verdict, result.subject.status) == (Verdict.SUBJECT_WRONG, "DIED")

    def test_what_is_left_open_does_not_excuse_a_broken_requirement(self) -> None:
        result = pair("OPEN a=0x1 b=0x1 must.b=0x1", "OPEN a=0x1 b=0x2 must.b=0x1")
        assert (result.verdict, result.subject.status) == (Verdict.SUBJECT_WRONG, "FAIL")

    def test_both_dead_in_one_check_decide_nothing_and_are_named(self) -> None:
        sides = [boot(name, broken_off(), Ending.TRIPLE_FAULT) for name in ("bochs", "kvm")]
        (result,) = judged(sides[:1], sides[1:])
        assert (result.check, result.verdict) == ("c0", Verdict.INCONCLUSIVE)
        assert "both sides died" in result.reason and "triple-fault" in result.reason

    def test_a_skip_hides_no_death_and_no_failure(self) -> None:
        """On either side: one that breaks the SDM is judged by itself."""
        skips, fails, dies = serial(SKIP), serial(FAIL), broken_off()
        for said, ending in ((fails, Ending.FINISHED), (dies, Ending.TRIPLE_FAULT)):
            (result,) = judged([boot("bochs", skips)], [boot("kvm", said, ending)])
            assert result.verdict == Verdict.SUBJECT_WRONG
            (result,) = judged([boot("bochs", said, ending)], [boot("kvm", skips)])
            assert result.verdict == Verdict.REFERENCE_WRONG
            assert exit_code([result]) == ExitCode.DIVERGED


class TestPanics:
    """What the emulator itself gave up on is a finding, whatever the guest saw."""

    PANIC = "VMENTER FAIL: VMCS guest activity state"

    def found(self, said: bytes, ending: Ending = Ending.FINISHED, **says: object) -> list[Result]:
        known = [msgspec.convert({"check": EMULATOR, "reason": "r", **says}, KnownDivergence)] if says else []
        reference = boot("bochs", said, ending, panics=[self.PANIC])
        manifest = msgspec.structs.replace(MANIFEST, known=known)
        return judged([reference], [boot("kvm", serial(PASS, PASS))], manifest=manifest)

    def test_agreeing_checks_do_not_hide_it(self) -> None:
        *checks, panic = self.found(serial(PASS, PASS))
        assert {result.verdict for result in checks} == {Verdict.AGREE}
        assert (panic.check, panic.verdict, panic.expected) == (EMULATOR, Verdict.REFERENCE_WRONG, False)
        assert self.PANIC in panic.reason and "during c1 or before it" in panic.reason
        assert panic.wrong == [panic.reference]

    def test_it_names_the_check_that_ran(self) -> None:
        panic = self.found(broken_off(PASS), Ending.CRASH)[-1]
        assert panic.check == EMULATOR and "during c1 or before it" in panic.reason

    def test_one_of_a_device_blames_no_cpu(self) -> None:
        device = "[PIC   ] >>PANIC<< master: slave PIC IRQ line not supported"
        for panics, verdict in (
            ([device], Verdict.INCONCLUSIVE),
            ([device, f"[CPU0  ] >>PANIC<< {self.PANIC}"], Verdict.REFERENCE_WRONG),
        ):
            panic = judged([boot("bochs", serial(PASS), panics=panics)], [boot("kvm", serial(PASS))])[-1]
            assert (panic.check, panic.verdict) == (EMULATOR, verdict)
            assert panics[-1] in panic.reason and bool(panic.hints) == (verdict == Verdict.INCONCLUSIVE)

    def test_the_rest_of_the_boot_is_judged(self) -> None:
        """What Bochs only reports ends nothing: the check that ran is known by what the guest had said by then."""
        said = serial(PASS, PASS)
        begun = said.index(b"difftest 1 check c0")
        left = boot("bochs", said, panics=[self.PANIC], said_before_panic=begun)
        first, second, panic = judged([left], [boot("kvm", serial(PASS, FAIL))])
        assert (first.verdict, second.verdict) == (Verdict.AGREE, Verdict.SUBJECT_WRONG)
        assert panic.reason == f"panic during c0 or before it: {self.PANIC}"
        early = boot("bochs", said, panics=[self.PANIC], said_before_panic=0)
        panic = judged([early], [boot("kvm", said)])[-1]
        assert panic.reason == f"panic before the first check: {self.PANIC}"

    def under(self, *, direct: bool, known: tuple[KnownDivergence, ...] = (), same: bool = False) -> list[Result]:
        """Panics of the CPU under the subject, in its own boot or in that of the subject."""
        panics = [self.PANIC]
        host = [boot("host-cpu", serial(PASS), panics=panics * direct)]
        subject = [boot("kvm", serial(PASS), panics=panics * (not direct))]
        left = host if same else [boot("bochs", serial(PASS))]
        names = BOCHS if same else HOST_CPU
        manifest = msgspec.structs.replace(MANIFEST, known=list(known))
        return judged(left, subject, host, manifest=manifest, host_names=names)

    @pytest.mark.parametrize("direct", [True, False])
    def test_of_the_cpu_under_the_subject_it_blames_nobody_that_is_compared(self, direct: bool) -> None:
        check, panic = self.under(direct=direct)
        assert check.verdict == Verdict.AGREE
        assert (panic.check, panic.verdict, panic.wrong, panic.expected) == (HOST_EMULATOR, Verdict.DIFFER, [], False)
        assert f"under {'host-cpu' if direct else 'kvm'}, panic during c0" in panic.reason
        assert exit_code([check, panic]) == ExitCode.DIVERGED
        known = KnownDivergence(check=HOST_EMULATOR, verdict=Verdict.DIFFER, reason="r", pattern="activity state")
        assert self.under(direct=direct, known=(known,))[-1].expected

    def test_a_reference_that_is_the_cpu_under_the_subject_panics_once(self) -> None:
        assert [one.check for one in self.under(direct=True, same=True)] == ["c0", EMULATOR]
        assert [one.check for one in self.under(direct=False, same=True)] == ["c0", HOST_EMULATOR]

    def test_a_subject_on_no_emulated_cpu_has_none_under_it(self) -> None:
        results = judged([boot("bochs", serial(PASS))], [boot("kvm", serial(PASS), panics=[self.PANIC])])
        assert [one.check for one in results] == ["c0"]

    def test_of_several_the_one_that_nobody_knows_is_told_first(self) -> None:
        left = boot("bochs", serial(PASS), panics=[self.PANIC, "another"])
        known = KnownDivergence(check=EMULATOR, verdict=Verdict.REFERENCE_WRONG, reason="r", pattern="activity state")
        manifest = msgspec.structs.replace(MANIFEST, known=[known])
        panic = judged([left], [boot("kvm", serial(PASS))], manifest=manifest)[-1]
        assert panic.reason.endswith(": another") and not panic.expected
        assert [hint for hint in panic.hints if self.PANIC in hint]

    def test_it_may_be_known(self) -> None:
        assert self.found(serial(PASS, PASS), verdict="reference-wrong", pattern="activity state")[-1].expected
        assert not self.found(serial(PASS, PASS), verdict="reference-wrong", pattern="something else")[-1].expected

    @pytest.mark.parametrize(
        ("end", "whole", "told"),
        [(Ending.FINISHED, True, 1), (Ending.CRASH, True, 0), (Ending.FINISHED, False, 0)],
    )
    def test_a_known_one_that_no_longer_shows_is_told(self, end: Ending, whole: bool, told: int) -> None:
        known = KnownDivergence(check=EMULATOR, verdict=Verdict.REFERENCE_WRONG, reason="a known panic", pattern="x")
        manifest = msgspec.structs.replace(MANIFEST, known=[known])
        results = judged(
            [boot("bochs", serial(PASS), end)], [boot("kvm", serial(PASS))], manifest=manifest, whole=whole
        )
        found = [result for result in results if result.check == EMULATOR]
        assert [(one.verdict, one.expected) for one in found] == [(Verdict.AGREE, False)] * told
        assert all("a known divergence is gone: a known panic" in one.reason for one in found)

    def test_without_one_there_is_no_such_result(self) -> None:
        results = judged([boot("bochs", serial(PASS))], [boot("kvm", serial(PASS))])
        assert [result.check for result in results] == ["c0"]

    def test_of_repeated_boots_those_with_it_are_counted(self) -> None:
        left = [boot("bochs", serial(PASS), repeat=at, panics=[self.PANIC] * (at == 1)) for at in range(3)]
        right = [boot("kvm", serial(PASS), repeat=at) for at in range(3)]
        panic = judged(left, right)[-1]
        assert (panic.check, panic.boots) == (EMULATOR, "1/3")


def boots(target: str, *texts: str | None) -> list[BootReading]:
    """Repeated boots; of None there is none."""
    return [boot(target, serial(text), repeat=number) for number, text in enumerate(texts) if text is not None]


OTHER = "FAIL exit_reason=0xa must.exit_reason=0x30"
LIES = "PASS exit_reason=0x0 must.exit_reason=0x30"


class TestRepeatedBoots:
    @pytest.mark.parametrize(
        ("left", "right", "verdict", "times"),
        [
            ((PASS, PASS, PASS), (PASS, FAIL, PASS), Verdict.FLAKY, "1/3"),
            ((PASS, PASS, PASS), (FAIL, FAIL, FAIL), Verdict.SUBJECT_WRONG, "3/3"),
            ((PASS, FAIL, PASS), (PASS, PASS, PASS), Verdict.FLAKY, "1/3"),
            # Of several that diverge the commonest is shown.
            ((FAIL, PASS, PASS), (FAIL, FAIL, FAIL), Verdict.FLAKY, "2/3"),
            ((FAIL, PASS, FAIL), (FAIL, PASS, FAIL), Verdict.FLAKY, "2/3"),
            # The answer is the same in all of them, only the wrong value is not.
            ((PASS, PASS, PASS), (FAIL, OTHER, FAIL), Verdict.SUBJECT_WRONG, "3/3"),
            ((FAIL, OTHER), (FAIL, OTHER), Verdict.BOTH_WRONG, "2/2"),
            # One that decides nothing takes the verdict of the others away.
            ((PASS, PASS), (FAIL, "PASS exit_reason=0x0 must.exit_reason=0x30"), Verdict.INCONCLUSIVE, "1/2"),
            ((PASS, PASS, PASS), (FAIL, FAIL, LIES), Verdict.INCONCLUSIVE, "1/3"),
            ((PASS,), (FAIL,), Verdict.SUBJECT_WRONG, ""),
        ],
    )
    def test_flaky_means_that_the_answer_varied(
        self, left: tuple[str, ...], right: tuple[str, ...], verdict: Verdict, times: str
    ) -> None:
        (result,) = judged(boots("bochs", *left), boots("kvm", *right))
        assert (result.verdict, result.boots) == (verdict, times), result.reason

    def test_a_flaky_one_shows_a_boot_that_diverges(self) -> None:
        (result,) = judged(boots("bochs", PASS, PASS, PASS), boots("kvm", PASS, FAIL, PASS))
        assert (result.subject.status, result.fields[0].values["kvm"]) == ("FAIL", "0x0")
        assert result.reason.startswith("1 of 3 boots: KVM wrong (exit_reason is 0x0")
        assert result.reason.endswith("; the others: 2 agree")

    def test_one_that_decides_nothing_names_the_boot(self) -> None:
        (result,) = judged(boots("bochs", PASS, PASS, PASS), boots("kvm", FAIL, FAIL, LIES))
        assert result.reason.startswith("boot 2: kvm: the image says PASS although"), result.reason

    def test_values_that_vary_are_told_as_such(self) -> None:
        (result,) = judged(boots("bochs", PASS, PASS), boots("kvm", FAIL, OTHER))
        assert "the values vary from boot to boot; the answer does not" in result.hints
        (steady,) = judged(boots("bochs", PASS, PASS), boots("kvm", FAIL, FAIL))
        assert steady.hints == []
        (free,) = judged(boots("bochs", f"{PASS} free.t=0x1", f"{PASS} free.t=0x2"), boots("kvm", PASS, PASS))
        assert free.hints == [], "what is recorded only may vary"

    def test_boots_belong_together_by_their_number(self) -> None:
        """The second boot of the reference is missing: its third belongs to the third of the subject."""
        (result,) = judged(boots("bochs", PASS, None, FAIL), boots("kvm", PASS, PASS, FAIL))
        assert (result.verdict, result.boots) == (Verdict.FLAKY, "1/2")
        assert judged(boots("bochs", None, FAIL), boots("kvm", FAIL, FAIL))[0].verdict == Verdict.BOTH_WRONG

    @pytest.mark.parametrize(
        ("left", "right", "verdict"),
        [
            ((PASS, None), (FAIL, FAIL), Verdict.SUBJECT_WRONG),
            ((PASS, None), (FAIL, PASS), Verdict.INCONCLUSIVE),
            ((PASS, PASS), (FAIL, None), Verdict.SUBJECT_WRONG),
            ((PASS, FAIL), (FAIL, None), Verdict.INCONCLUSIVE),
            ((None, PASS), (FAIL, None), Verdict.INCONCLUSIVE),
        ],
    )
    def test_a_boot_without_its_counterpart_decides_nothing_but_may_contradict(
        self, left: tuple[str | None, ...], right: tuple[str | None, ...], verdict: Verdict
    ) -> None:
        results = judged(boots("bochs", *left), boots("kvm", *right), abouts=[About(check="c0")])
        assert results[0].verdict == verdict, results[0].reason

    def test_a_contradiction_names_the_boot(self) -> None:
        (result,) = judged(boots("bochs", PASS), boots("kvm", FAIL, PASS))
        assert "kvm: boot 1 gave PASS" in result.reason and "no counterpart on bochs" in result.reason
        assert result.boots == "1/2"

    def test_a_contradiction_shows_what_that_boot_gave(self) -> None:
        (result,) = judged(boots("bochs", PASS), boots("kvm", FAIL, PASS))
        assert [side.status for side in result.sides] == ["PASS", "PASS"]
        assert result.fields[0].values == {"bochs": "0x30", "kvm": "0x30"}

    @pytest.mark.parametrize("form", ["OPEN a={}", "PASS a={} b=0x1 must.b=0x1"])
    def test_where_nothing_is_broken_other_values_contradict_too(self, form: str) -> None:
        one, other = form.format("0x1"), form.format("0x2")
        (result,) = judged(boots("bochs", one, other), boots("kvm", one))
        assert result.verdict == Verdict.INCONCLUSIVE and "a 0x2" in result.reason, result.reason
        (result,) = judged(boots("bochs", one, one), boots("kvm", one))
        assert result.verdict == Verdict.AGREE
        (result,) = judged(boots("bochs", PASS), boots("kvm", FAIL, OTHER))
        assert result.verdict == Verdict.SUBJECT_WRONG, "of a wrong value the verdict does not depend"


class TestTheLogOfTheKernel:
    KVM = KernelFault(line="WARNING: at nested.c:1", trace=["nested_vmx_vmexit", "vcpu_run"], in_kvm=True)
    OTHER = KernelFault(line="traps: init[1] general protection fault ip:401", trace=[], in_kvm=False)

    def found(self, *faults: KernelFault) -> Result | None:
        results = judged([boot("bochs", serial(PASS))], [boot("kvm", serial(PASS), kernel_faults=list(faults))])
        return next((result for result in results if result.check == HOST_KERNEL), None)

    def test_a_fault_with_kvm_on_the_stack_is_kvm_s(self) -> None:
        result = self.found(self.KVM)
        assert result is not None and result.verdict == Verdict.SUBJECT_WRONG and not result.expected
        assert result.reason == self.KVM.line
        assert result.hints == ["call trace: nested_vmx_vmexit < vcpu_run"]
        assert result.wrong == [result.subject]

    def test_any_other_is_the_kernel_s_and_blames_nobody(self) -> None:
        result = self.found(self.OTHER)
        assert result is not None and result.verdict == Verdict.DIFFER and result.wrong == []
        assert result.reason.startswith("L0's kernel, not in KVM: traps")

    def test_beside_another_kvm_s_own_is_told(self) -> None:
        result = self.found(self.OTHER, self.KVM)
        assert result is not None and result.verdict == Verdict.SUBJECT_WRONG and result.reason == self.KVM.line

    def test_a_quiet_log_is_no_result(self) -> None:
        assert self.found() is None

    def test_of_repeated_boots_those_with_it_are_counted(self) -> None:
        left = [boot("bochs", serial(PASS), repeat=at) for at in range(3)]
        right = [boot("kvm", serial(PASS), repeat=at, kernel_faults=[self.KVM] * (at > 0)) for at in range(3)]
        assert judged(left, right)[-1].boots == "2/3"

    @pytest.mark.parametrize("whole", [True, False])
    def test_of_two_known_ones_that_which_no_longer_shows_is_reported(self, whole: bool) -> None:
        """Although the other does. Where not all checks ran it may not have had its turn."""
        known = [
            KnownDivergence(check=HOST_KERNEL, verdict=Verdict.SUBJECT_WRONG, reason=f"the {word}", pattern=word)
            for word in ("nested.c", "mmu.c")
        ]
        manifest = msgspec.structs.replace(MANIFEST, known=known)
        kvm = [boot("kvm", serial(PASS), kernel_faults=[self.KVM])]
        result = judged([boot("bochs", serial(PASS))], kvm, manifest=manifest, whole=whole)[-1]
        assert (result.check, result.verdict, result.expected) == (HOST_KERNEL, Verdict.SUBJECT_WRONG, not whole)
        assert ("a known divergence is gone: the mmu.c" in result.hints) == whole
