"""The bug form: all that a maintainer asks for, and nothing that was not observed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from difftest.case.manifest import HOST_KERNEL, KnownDivergence
from difftest.errors import StoreError
from difftest.image.parameter_block import speaking
from difftest.judging.result import Field, Result
from difftest.reading.boot_reading import BootRecord
from difftest.report.bug import bug_report
from difftest.report.qualification import EPT_VIOLATION, decoded
from difftest.report.words import effect
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Verdict
from emulators.observation import KernelFault
from tests import sample_run as sample
from tests.test_captured import captured

MANIFEST = """
name = "ept-pdpte-load"
title = "PDPTEs from a page that EPT does not map"
description = "A nested guest sets CR0.PG."
sources = ["ept-pdpte-load.c"]
needs = ["vmx", "ept"]
"""
OTHER = msgspec.structs.replace(sample.BAD, identity=sample.BAD.identity | {"cpu model": "Haswell,vmx=on"})


def nested_run(root: Path, *, confirmed: bool = True) -> StoredRun:
    """The sample run as a nested case's, whose divergence was looked at again."""
    bad = msgspec.structs.replace(sample.BAD, by_hand="qemu-system-x86_64 -drive file=disk.img -serial stdio")
    run = sample.write_run(root, right=bad, case=msgspec.structs.replace(sample.snapshot(), manifest=MANIFEST))
    writer = RunWriter(run.folder, msgspec.structs.replace(run.meta, idle={"tcg": []}))
    writer.finish("finished")
    if confirmed:
        writer.add_confirmations(sample.CASE, sample.CONFIRMED)
        writer.add_observation(sample.CASE, BootRecord(number=1, variant="another CPU model"), OTHER)
    return StoredRun.open(run.folder)


def test_it_has_what_the_first_report_of_the_bug_had(tmp_path: Path) -> None:
    text = bug_report(nested_run(tmp_path), "not-present")
    for line in (
        "Summary: KVM: #GP in the nested guest, error code 0x0. Required: CR3's page is absent from EPT: MOV to CR0 "
        "that sets PG with PAE causes an EPT violation at CR3\n",
        "CPU model: corei7_haswell_4770, as emulated by Bochs 3.0+dfsg-1: Linux with KVM ran inside it",
        "CPU model that the guest was given: host",
        "Host kernel version: 6.1.176-1",
        "Host kernel arch: not recorded",
        "Guest: a hypervisor with a nested guest of its own",
        "QEMU command line: qemu-system-x86_64 -drive file=disk.img -serial stdio",
        "With another CPU model (Haswell,vmx=on): this bug does not show (agree: same on both sides)",
        "With kernel_irqchip=off: tried, without a result",
        "With tcg: cannot be tested, it has no ept, vmx, which the guest requires",
        "How to reproduce:",
        "built from ept-pdpte-load.c of the case ept-pdpte-load, difftest 0.1)",
        'See "BAD" on the VGA screen at row 20 column 0-2. The last line of serial output is:',
        "Halt: condition 'guest receives #GP (incorrect)' met",
        "Expected behavior (Bochs (2.7+dfsg-4) shows it; not tried on real hardware):",
        'See "GOOD" on the VGA screen at row 21 column 0-3.',
        "Actual behavior: #GP in the nested guest, error code 0x0",
        "exit_reason = 0x0 (0, exception or NMI)    instead of 0x30 (48, EPT violation)",
        "L0 is KVM, L1 the image, L2 the nested guest that the image runs.",
        "A nested guest sets CR0.PG.",
        "Intel SDM: PDPTE Registers; EPT Violations\n",
        "Likely cause (from the case's manifest; not observed in this run):",
        "  guest_physical_address = 0x13000\n",
        "difftest run ept-pdpte-load -k not-present --target kvm-hosted",
    ):
        assert line in text, line


def test_what_is_reported_already_is_said_before_all_else(tmp_path: Path) -> None:
    text = bug_report(nested_run(tmp_path), "not-present")
    assert text.startswith("Already reported: https://bugzilla.example/1 (")
    manifest = msgspec.structs.replace(sample.MANIFEST, known=[])
    assert "Already reported" not in bug_report(sample.write_run(tmp_path / "new", manifest=manifest), "not-present")


def test_what_the_wrong_side_does_not_speak_of_is_expected_all_the_same(tmp_path: Path) -> None:
    """KVM's record has another exit, without the address that the right one has."""
    text = bug_report(nested_run(tmp_path), "not-present")
    expected = text.partition("Expected behavior")[2].partition("Actual behavior")[0]
    assert "  exit_reason = 0x30 (48, EPT violation)\n  guest_physical_address = 0x13000\n" in expected
    assert b"guest_physical_address" not in sample.BAD.serial.partition(b"check not-present")[2]


def test_the_hash_of_the_attached_image_is_said_beside_that_of_the_booted_one(tmp_path: Path) -> None:
    """An image of the kit is attached with its lines on COM1; any other is attached as it was booted."""
    assert f"(attached; sha256 of the image {sample.SHA256};" in bug_report(nested_run(tmp_path), "not-present")
    run = captured("kvm-wrong")
    (case,) = run.cases()
    attached = hashlib.sha256(speaking(run.image(case))).hexdigest()
    text = bug_report(run, "not-present")
    assert f"sha256 of the image {attached}: it sends its lines to COM1" in text
    assert attached != case.image_sha256 and case.image_sha256 in text


def test_what_was_not_tried_is_said_to_be_not_tried(tmp_path: Path) -> None:
    text = bug_report(nested_run(tmp_path, confirmed=False), "not-present")
    assert "With kernel_irqchip=off, with another CPU model: not tried (difftest run ept-pdpte-load" in text
    assert "still exists" not in text


def test_bochs_has_a_report_of_its_own_when_bochs_is_wrong(tmp_path: Path) -> None:
    left, right = (
        msgspec.structs.replace(side, serial=other.serial)
        for side, other in ((sample.GOOD, sample.BAD), (sample.BAD, sample.GOOD))
    )
    run = sample.write_run(tmp_path, left, right, manifest=msgspec.structs.replace(sample.MANIFEST, known=[]))
    text = bug_report(run, "ept-pdpte-load/not-present")
    assert (
        text.startswith("Summary: Bochs: #GP in the nested guest, error code 0x0. Required: CR3's page")
        and "bochs-emu/Bochs" in text
    )
    assert "error code 0x0" in text.partition("\n")[0]
    assert "Bochs version: 2.7+dfsg-4" in text and "Host kernel: 6.1.0" in text
    assert "Expected behavior (Bochs (3.0+dfsg-1) shows it" in text, "the other Bochs is nearer than a KVM on top of it"
    assert "Likely cause" not in text, "nobody has said anything about it"
    assert "kernel_irqchip" not in text and "--target" not in text, "Bochs is wrong without any KVM"
    assert "PDPTE Registers (Vol. 3, 4.4.1)" in text
    alone = sample.write_run(tmp_path / "alone", left, right, None)
    assert "Expected behavior (KVM (QEMU 1:7.2+dfsg-7, kernel 6.1.176-1) shows it" in bug_report(alone, "not-present")


def test_both_get_a_report_when_both_are_wrong(tmp_path: Path) -> None:
    other = sample.BAD.serial.replace(b"exit_reason=0x0", b"exit_reason=0xa", 1)
    left = msgspec.structs.replace(sample.GOOD, serial=other)
    text = bug_report(sample.write_run(tmp_path / "two", left, host=None), "not-present")
    assert text.count("Summary: ") == 2 and "Summary: Bochs" in text and "Summary: KVM" in text
    of_bochs, _, of_kvm = text.partition("Summary: KVM")
    assert "--target" not in of_bochs and "--target kvm-hosted" in of_kvm
    assert "shows it" not in text, "none of the two shows what is expected"
    three = bug_report(sample.write_run(tmp_path / "three", left), "not-present")
    assert three.count("Summary: ") == 2 and three.count("Expected behavior (Bochs (3.0+dfsg-1) shows it") == 2


def test_of_a_shared_failure_the_cpu_under_kvm_is_reported(tmp_path: Path) -> None:
    """It is wrong for certain: it runs without KVM."""
    host = msgspec.structs.replace(sample.HOST, serial=sample.BAD.serial)
    text = bug_report(sample.write_run(tmp_path, host=host), "not-present")
    assert text.count("Summary: ") == 1 and text.startswith("Summary: Bochs") and "bochs-emu/Bochs" in text
    assert "Bochs version: 3.0+dfsg-1" in text
    assert "The same was seen under KVM, which ran on this CPU: that says nothing about KVM." in text
    assert "difftest run ept-pdpte-load -k not-present --bochs 3.0\n" in text, "booted directly, as the reference"


def test_where_both_are_wrong_each_has_its_own_cause_and_link(tmp_path: Path) -> None:
    left = msgspec.structs.replace(sample.GOOD, serial=sample.BAD.serial)
    both = KnownDivergence(
        check="not-present",
        verdict=Verdict.BOTH_WRONG,
        match={"exit_reason": "0x0"},
        reason="KVM forgets",
        link="https://kernel.example/1",
        reference_reason="Bochs does not look",
        reference_link="https://bochs.example/2",
    )
    alone = msgspec.structs.replace(both, reference_reason="", reference_link="")
    for number, (known, cause, link) in enumerate(((both, True, True), (alone, False, False))):
        manifest = msgspec.structs.replace(sample.MANIFEST, known=[known])
        run = sample.write_run(tmp_path / str(number), left, host=None, manifest=manifest)
        of_bochs, of_kvm = _halves(run)
        assert "KVM forgets" in of_kvm and "Already reported: https://kernel.example/1" in of_kvm
        assert ("Bochs does not look" in of_bochs) == cause and ("https://bochs.example/2" in of_bochs) == link
        assert "KVM forgets" not in of_bochs and "kernel.example" not in of_bochs


def _halves(run: StoredRun) -> tuple[str, str]:
    """The report on Bochs and that on KVM."""
    whole = bug_report(run, "not-present")
    at = whole.index("Already reported: https://kernel.example/1")
    return whole[:at], whole[at:]


def test_a_fault_in_the_kernel_s_log_is_reported_with_its_trace(tmp_path: Path) -> None:
    fault = KernelFault(line="WARNING: CPU: 0 at nested.c:1", trace=["nested_vmx_vmexit", "vcpu_run"], in_kvm=True)
    bad = msgspec.structs.replace(sample.BAD, kernel_faults=[fault])
    text = bug_report(sample.write_run(tmp_path, right=bad), HOST_KERNEL)
    assert "WARNING: CPU: 0 at nested.c:1" in text.partition("\n")[0]
    assert "kernel log: WARNING: CPU: 0 at nested.c:1\n    nested_vmx_vmexit\n    vcpu_run\n" in text
    assert "Expected behavior:\n\nThe kernel's log has no warning while the image runs." in text


def test_other_kernels_of_the_same_command_are_told(tmp_path: Path) -> None:
    alone = sample.write_run(tmp_path)
    assert "Whether it is a regression is not known" in bug_report(alone, "not-present")
    RunWriter(alone.folder, msgspec.structs.replace(sample.meta(), series="one")).finish("finished")
    run = StoredRun.open(alone.folder)
    identities = {**sample.meta().identities, "kvm-hosted": sample.BAD.identity | {"kernel": "7.3"}}
    meta = msgspec.structs.replace(sample.meta("20260102-030405-cafe"), identities=identities, series="one")
    writer = RunWriter.create(tmp_path, meta)
    writer.add_case(sample.snapshot(), tmp_path / "disk.img")
    fixed = sample.result(case=sample.CASE, check="not-present", subject=sample.SUBJECT, reason="same on both sides")
    writer.add_results(sample.CASE, [fixed])
    text = bug_report(run, "not-present")
    assert "Other kernels, run by the same command:\n  Linux 7.3: KVM does what is required (PASS)" in text
    other = msgspec.structs.replace(meta, series="another")
    RunWriter(writer.folder, other).finish("finished")
    assert "Whether it is a regression is not known" in bug_report(run, "not-present"), "another command's run"


@pytest.mark.parametrize(("check", "words"), [("mapped", "agree"), ("none", "no check called none")])
def test_no_bug_is_made_up(tmp_path: Path, check: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        bug_report(sample.write_run(tmp_path), check)
    assert caught.value.hint


def exits(reference: dict[str, str], subject: dict[str, str]) -> Result:
    sides = {"bochs": reference, "kvm": subject}
    fields = [
        Field(name=name, values={target: side[name] for target, side in sides.items() if name in side})
        for name in dict.fromkeys([*reference, *subject])
    ]
    return sample.result(Verdict.DIFFER, fields=fields)


def test_exit_qualifications_are_told_by_exit_reason() -> None:
    ept = {"exit_reason": "0x30", "exit_qualification": "0x83"}
    rows = {row.bits: row for row in decoded(exits(ept, ept | {"exit_qualification": "0x181"}))}
    assert len(rows) == len(EPT_VIOLATION)
    assert rows["0"].values == ("1, yes", "1, yes") and not rows["0"].differs
    assert rows["1"].values == ("1, yes", "0, no") and rows["1"].differs
    assert rows["8"].values == ("0, a paging-structure entry", "1, the translation of a linear address")

    control = {"exit_reason": "0x1c", "exit_qualification": "0x304"}
    rows = {row.name: row for row in decoded(exits(control, ept))}
    assert rows["control register (0 for CLTS and LMSW)"].values == ("4", None)
    assert rows["access"].values == ("0, MOV to CR", None)
    assert rows["general register of the MOV"].values == ("3, RBX", None)
    assert rows["the access was a data read"].values == (None, "1, yes")
    assert not any(row.differs for row in rows.values()), "exits of two kinds have no bits in common"


@pytest.mark.parametrize(
    "record",
    [
        *(
            {},
            {"exit_reason": "0x30"},
            {"exit_qualification": "0x1"},
            {"exit_reason": "0xc", "exit_qualification": "0x0"},
        ),
        *({"exit_reason": "BAD", "exit_qualification": "0x1"}, {"exit_reason": "0x30", "exit_qualification": "0xzz"}),
    ],
)
def test_what_has_no_qualification_is_not_decoded(record: dict[str, str]) -> None:
    assert decoded(exits(record, record)) == []


def test_a_page_fault_s_qualification_is_its_address() -> None:
    record = {"exit_reason": "0x0", "exit_interruption_information": "0x80000b0e", "exit_qualification": "0x1000"}
    assert [(row.bits, row.values) for row in decoded(exits(record, record))] == [("63:0", ("0x1000", "0x1000"))]


def test_a_vmcall_that_reports_an_exception_is_said_to_be_that() -> None:
    """A maintainer would take it for what KVM gives instead of the exit that is required."""
    said = "The VMCALL is the nested guest's own: its handler of the exception reports by it."
    assert said in bug_report(captured("kvm-wrong"), "not-present")
    assert said not in bug_report(captured("bochs-wrong"), "L2-19/am"), "it took no exception"


def test_a_sweep_that_went_wrong_is_named_by_its_first_turn() -> None:
    fields = [
        Field(name="first_wrong_turn", values={"bochs": "0x40"}),
        Field(name="first_wrong", values={"bochs": "0x12"}, required={"bochs": "0x30", "tcg": "0x30"}),
        Field(name="wrong_turns", values={"bochs": "0x3", "tcg": "0x0"}, required={"bochs": "0x0", "tcg": "0x0"}),
    ]
    result = sample.result(Verdict.REFERENCE_WRONG, fields=fields)
    assert effect(result, "bochs") == ("turn 0x40 of a sweep gives 0x12 instead of 0x30, the first of 0x3 wrong turns")


def test_how_a_guest_ended_is_said_in_full() -> None:
    text = bug_report(captured("internal-error"), "L1-08")
    shown = text.partition("How to reproduce")[2].partition("Expected behavior")[0]
    assert "The boot ended with kvm-internal-error (KVM internal error" in shown
    actual = text.partition("Actual behavior")[2].partition("Explanation")[0]
    assert "uberror" in actual, actual


def test_a_fault_that_should_not_be_is_named_by_its_vector() -> None:
    text = bug_report(captured("shared"), "P-09/wp")
    assert text.splitlines()[0].startswith(
        "Summary: Bochs: setting_fault is 0x1 instead of 0x0 (#GP). Required: MOV to"
    )
    assert "Bochs command line: bochs -q -f" in text and "(its files are in the attached bundle)" in text
