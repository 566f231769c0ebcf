"""The bug form: all that a maintainer asks for, and nothing that was not observed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from difftest.errors import StoreError
from difftest.judging.result import Field, Result
from difftest.report.bug import bug_report
from difftest.report.qualification import EPT_VIOLATION, decoded
from difftest.run.store import RunWriter, StoredRun
from difftest.verdict import Verdict
from tests import sample_run as sample

MANIFEST = """
name = "ept-pdpte-load"
title = "PDPTEs from a page that EPT does not map"
description = "A nested guest sets CR0.PG."
sources = ["ept-pdpte-load.c"]
needs = ["vmx", "ept"]
"""
OTHER = msgspec.structs.replace(
    sample.BAD, variant="another CPU model", identity=sample.BAD.identity | {"cpu model": "Haswell,vmx=on"}
)


def nested_run(root: Path, *, confirmed: bool = True) -> StoredRun:
    """The sample run as a nested case's, whose divergence was looked at again."""
    bad = msgspec.structs.replace(sample.BAD, by_hand="qemu-system-x86_64 -drive file=disk.img -serial stdio")
    run = sample.write_run(root, right=bad, case=msgspec.structs.replace(sample.snapshot(), manifest=MANIFEST))
    writer = RunWriter(run.folder, msgspec.structs.replace(run.meta, idle={"tcg": []}))
    writer.finish("finished")
    if confirmed:
        writer.add_confirmations(sample.CASE, sample.CONFIRMED)
        writer.add_observation(sample.CASE, 1, OTHER)
    return StoredRun.open(run.folder)


def test_it_has_what_the_first_report_of_the_bug_had(tmp_path: Path) -> None:
    text = bug_report(nested_run(tmp_path), "not-present")
    for line in (
        "Summary: KVM gives #GP in the nested guest, error code 0x0, where the SDM requires: CR3's page is absent "
        "from EPT",
        "CPU model: some CPU",
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
        "Intel SDM: PDPTE Registers (Vol. 3, 4.4.1); EPT Violations (Vol. 3, 29.3.3.2)",
        "Likely cause (from the case's manifest; not observed in this run):",
        "See also: https://bugzilla.example/1",
        "difftest run ept-pdpte-load -k not-present --target kvm-hosted",
    ):
        assert line in text, line


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
    assert text.startswith("Summary: Bochs gives #GP") and "bochs-emu/Bochs" in text
    assert "Bochs version: 2.7+dfsg-4" in text and "Host kernel: 6.1.0" in text
    assert "Expected behavior (KVM (QEMU 1:7.2+dfsg-7, Bochs 2.7+dfsg-4, kernel 6.1.176-1) shows it" in text
    assert "Likely cause" not in text, "nobody has said anything about it"


def test_both_get_a_report_when_both_are_wrong(tmp_path: Path) -> None:
    other = sample.BAD.serial.replace(b"exit_reason=0x0", b"exit_reason=0xa", 1)
    left = msgspec.structs.replace(sample.GOOD, serial=other)
    text = bug_report(sample.write_run(tmp_path, left), "not-present")
    assert text.count("Summary: ") == 2 and "Summary: Bochs" in text and "Summary: KVM" in text
    assert "shows it" not in text, "none of the two shows what is expected"


@pytest.mark.parametrize(("check", "words"), [("mapped", "agree"), ("none", "no check called none")])
def test_no_bug_is_made_up(tmp_path: Path, check: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        bug_report(sample.write_run(tmp_path), check)
    assert caught.value.hint


def exits(reference: dict[str, str], subject: dict[str, str]) -> Result:
    fields = [
        Field(name=name, reference=reference.get(name), subject=subject.get(name))
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
