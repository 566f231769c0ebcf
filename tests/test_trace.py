"""Stories of the two sides, and where they part: a real trace of Bochs, lines of L0 as its kernels write them, and
stories that differ in one thing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from difftest.tracing.code import bits_of
from difftest.tracing.of_bochs import story_of_bochs
from difftest.tracing.of_l0 import story_of_l0
from difftest.tracing.parting import SeenByL0, parting
from difftest.tracing.story import StepKind, Story, StoryStep
from difftest.tracing.view import in_words, rows
from emulators.bochs.tracing import BochsTrace
from emulators.hosted.exit_log import PAGES
from emulators.hosted.l0_log import l0_log
from emulators.hosted.ring_buffer import events, format_of
from emulators.observation import L0_LOG, Ending
from tests import sample_run as sample

DATA = Path(__file__).parent / "data" / "trace"
MOV_CR0 = 0x13DE2
# The seed's check on KVM: L1 enters L2, L0 handles the MOV to CR0 with an exception, and L2's handler makes a VMCALL.
SEED = """\
1 start
1 kvm_exit exit_reason=0x17 guest_rip=0x11000 info1=0x0 info2=0x0 intr_info=0x0 error_code=0x0
1 kvm_exit exit_reason=0x14 guest_rip=0x112da info1=0x0 info2=0x0 intr_info=0x0 error_code=0x0
1 kvm_exit exit_reason=0x1c guest_rip=0x13de2 info1=0x0 info2=0x0 intr_info=0x0 error_code=0x0
1 kvm_nested_vmexit exit_code=0x1c
1 kvm_cr rw=0x1 cr=0x0 val=0x80000031
1 kvm_inj_exception exception=0xd has_error=0x1 error_code=0x0 reinjected=0x0
1 kvm_exit exit_reason=0x12 guest_rip=0x14084 info1=0x0 info2=0x0 intr_info=0x0 error_code=0x0
1 kvm_nested_vmexit exit_code=0x12
1 kvm_nested_vmexit_inject exit_code=0x12 exit_info1=0x0 exit_info2=0x0
1 report
end cut=0
"""


def of_l0(lines: str, ending: Ending = Ending.FINISHED) -> Story:
    logs = {L0_LOG: f"difftest l0 1\n{lines}".encode()}
    return story_of_l0(msgspec.structs.replace(sample.GOOD, logs=logs, ending=ending, detail="it fell silent"))


def of_bochs() -> Story:
    console, log = ((DATA / f"seed.{name}").read_bytes() for name in ("console", "log"))
    return story_of_bochs(BochsTrace(console=console, log=log, serial=b"", end=""))


def kinds(story: Story) -> list[tuple[StepKind, str, int | None]]:
    return [
        (step.kind, step.level, step.rip) for step in story.steps if step.level == "L2" or step.kind is StepKind.ENTRY
    ]


def test_bochs_enters_l2_and_leaves_it_with_the_exit_that_its_log_has() -> None:
    story = of_bochs()
    assert kinds(story) == [
        (StepKind.ENTRY, "L1", 0x112DA),
        (StepKind.INSTRUCTION, "L2", 0x13DDA),
        (StepKind.INSTRUCTION, "L2", 0x13DDD),
        (StepKind.INSTRUCTION, "L2", MOV_CR0),
        (StepKind.EXIT, "L2", MOV_CR0),
    ]
    (exit,) = (step for step in story.steps if step.kind is StepKind.EXIT)
    assert (exit.number, exit.detail, exit.failed) == (48, 1, False)
    assert story.steps[-1].level == "L1" and bits_of(story.steps[-1]) == 32


def test_an_exit_before_the_first_instruction_of_l2_is_found() -> None:
    console = (DATA / "seed.console").read_bytes()
    head, entry, rest = console.partition(b"vmlaunch                  ; 0f01c2\n")
    lines = rest.splitlines(keepends=True)
    log = (
        b"00004470841d[CPU0  ] VMLAUNCH VMCS ptr: 0x0\n"
        b"00004470842d[CPU0  ] VMEXIT reason = 52 (VMX preemption timer) qualification=0x0\n"
    )
    story = story_of_bochs(BochsTrace(console=head + entry + b"".join(lines[3:]), log=log, serial=b"", end=""))
    assert [(step.kind, step.number, step.rip) for step in story.steps if step.kind is not StepKind.INSTRUCTION] == [
        (StepKind.ENTRY, 0, 0x112DA),
        (StepKind.EXIT, 52, None),
    ]
    assert {step.level for step in story.steps if step.kind is StepKind.INSTRUCTION} == {"L1"}


def test_a_vm_entry_that_fails_or_is_refused_is_none() -> None:
    console = (DATA / "seed.console").read_bytes()
    head, entry, rest = console.partition(b"vmlaunch                  ; 0f01c2\n")
    after = rest.splitlines(keepends=True)[3:]
    log = (
        b"00004470841e[CPU0  ] VMFAIL: VMCS link pointer malformed\n"
        b"00004470841d[CPU0  ] VMEXIT reason = 33 (VM entry failure) qualification=0x4\n"
    )
    story = story_of_bochs(BochsTrace(console=head + entry + b"".join(after), log=log, serial=b"", end=""))
    (exit,) = (step for step in story.steps if step.kind is not StepKind.INSTRUCTION)
    assert (exit.kind, exit.number, exit.failed, exit.rip) == (StepKind.EXIT, 33, True, 0x112DA)
    assert exit.words == "VMFAIL: VMCS link pointer malformed"
    next_one = after[0].replace(b"112e6", b"112dd")
    said = head + entry + next_one
    story = story_of_bochs(BochsTrace(console=said, log=log.splitlines()[0] + b"\n", serial=b"", end=""))
    (refused,) = (step for step in story.steps if step.kind is not StepKind.INSTRUCTION)
    assert refused.kind is StepKind.REFUSED and "malformed" in refused.words


def test_l0_handles_passes_on_and_injects() -> None:
    story = of_l0(SEED)
    assert [(step.kind, step.level, step.number) for step in story.steps] == [
        (StepKind.ENTRY, "L1", 0),
        (StepKind.HANDLED, "L2", 28),
        (StepKind.EXCEPTION, "L2", 13),
        (StepKind.EXIT, "L2", 18),
    ], "VMREADs by the hundred are left out"
    assert not story.end and not story.problem


def test_the_seed_parts_at_the_mov_to_cr0_that_l0_carried_out() -> None:
    bochs, kvm = of_bochs(), of_l0(SEED)
    found = parting(bochs, kvm)
    assert found.differs and (found.rip, found.level, found.seen) == (MOV_CR0, "L2", SeenByL0.CARRIED_OUT)
    before, after = rows(bochs, kvm, found)
    assert [(one and one.rip, other and other.rip) for one, other in before][-1] == (MOV_CR0, MOV_CR0)
    assert (
        in_words(after[0][0], lambda address: "") == "VM exit to L1: 48, EPT violation, qualification 0x1, at 0x13de2"
    )
    assert in_words(after[0][1], lambda address: "there") == "L2  0x13de2 there: #GP, error code 0x0, L0 injects it"


def step(kind: StepKind, rip: int | None = 0x100, level: str = "L2", **other: object) -> StoryStep:
    return msgspec.convert({"kind": kind, "level": level, "rip": rip, **other}, StoryStep)


ENTRY = step(StepKind.ENTRY, 0x10, "L1")
VMCALL = step(StepKind.EXIT, 0x200, number=18)


@pytest.mark.parametrize(
    ("bochs", "kvm", "rip", "level", "seen"),
    [
        # The exit qualification alone.
        (
            [ENTRY, step(StepKind.EXIT, number=48, detail=1)],
            [ENTRY, step(StepKind.EXIT, number=48, detail=3)],
            *(0x100, "L2", SeenByL0.WROTE_EXIT),
        ),
        # KVM lets an entry through that Bochs fails, and the other way round.
        (
            [step(StepKind.EXIT, 0x10, number=33, failed=True)],
            [ENTRY, VMCALL],
            *(0x10, "L1", SeenByL0.ENTERED),
        ),
        ([ENTRY, VMCALL], [step(StepKind.REFUSED, 0x10, "L1")], *(0x10, "L1", SeenByL0.ENTERED)),
        # L2 goes another way after an instruction that L0 carried out.
        (
            [ENTRY, VMCALL],
            [ENTRY, step(StepKind.HANDLED, 0x120, number=28), step(StepKind.EXIT, 0x300, number=18)],
            *(0x120, "L2", SeenByL0.CARRIED_OUT),
        ),
        # ... and with nothing that L0 saw.
        ([ENTRY, VMCALL], [ENTRY, step(StepKind.EXIT, 0x300, number=18)], *(0x200, "L2", SeenByL0.WROTE_EXIT)),
        # L0 maps memory for L2 on the way, which is no instruction that it carries out.
        (
            [ENTRY, step(StepKind.EXIT, number=49)],
            [ENTRY, step(StepKind.HANDLED, number=48), step(StepKind.EXIT, number=49, detail=2, had=48)],
            *(0x100, "L2", SeenByL0.WROTE_EXIT),
        ),
        # L0 emulates INS, and gives L1 an exit of its making.
        (
            [ENTRY, step(StepKind.EXIT, number=48, detail=2)],
            [ENTRY, step(StepKind.EXIT, number=48, detail=3, had=30)],
            *(0x100, "L2", SeenByL0.CARRIED_OUT),
        ),
        # The exit that L2 gets before its first instruction, and an L0 that shuts L1 down in the VM entry.
        (
            [ENTRY, step(StepKind.EXIT, None, number=52)],
            [ENTRY, step(StepKind.EXIT, 0x10, number=2, had=20)],
            *(0x10, "L1", SeenByL0.ENTERED),
        ),
        # L0 handles the instruction and does not inject the exception that is due.
        (
            [step(StepKind.EXCEPTION, 0x50, "L1", number=13)],
            [step(StepKind.HANDLED, 0x50, "L1", number=28)],
            *(0x50, "L1", SeenByL0.CARRIED_OUT),
        ),
        # The machine dies with L2.
        ([ENTRY, VMCALL], [ENTRY], *(0x200, "L2", SeenByL0.NOT_AT_ALL)),
    ],
)
def test_where_they_part(
    bochs: Sequence[StoryStep], kvm: Sequence[StoryStep], rip: int, level: str, seen: SeenByL0
) -> None:
    found = parting(Story(steps=tuple(bochs)), Story(steps=tuple(kvm)))
    assert found.differs and (found.rip, found.level, found.seen) == (rip, level, seen)


def test_an_exception_that_only_the_cpu_under_l0_saw_is_no_difference() -> None:
    bochs = Story(steps=(ENTRY, step(StepKind.EXCEPTION, 0x100, number=7), VMCALL))
    kvm = Story(steps=(ENTRY, step(StepKind.HANDLED, 0xF0, number=28), VMCALL))
    found = parting(bochs, kvm)
    assert not found.differs and (found.rip, found.seen) == (0xF0, SeenByL0.CARRIED_OUT)


def test_what_l0_did_not_record_is_said() -> None:
    assert story_of_l0(sample.GOOD).problem == "L0 recorded nothing"
    assert of_l0("problem this kernel cannot trace kvm_exit\n").problem
    assert of_l0(SEED.replace("1 report\n", ""), Ending.QUIET).end.endswith("it fell silent")
    assert of_l0(SEED.replace("cut=0", "cut=9")).problem
    nothing = BochsTrace(console=b"", log=b"", serial=b"", end="the guest reset the machine")
    assert "the guest reset the machine" in story_of_bochs(nothing).problem


TEXT = """\
name: kvm_nested_vmenter_failed
ID: 77
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:__data_loc char[] msg;\toffset:8;\tsize:4;\tsigned:0;
\tfield:u32 err;\toffset:12;\tsize:4;\tsigned:0;
"""


def test_the_words_of_an_event_are_read() -> None:
    number, format = format_of("kvm_nested_vmenter_failed", TEXT)
    words = b"CC(x)\0"
    data = (
        number.to_bytes(2, "little") + bytes(6) + (16 | len(words) << 16).to_bytes(4, "little") + b"\x07\0\0\0" + words
    )
    data = data.ljust(24, b"\0")
    page = bytes(8) + (len(data) + 4).to_bytes(8, "little") + (len(data) // 4).to_bytes(4, "little") + data
    (event,) = events(page.ljust(4096, b"\0"), {number: format})
    assert event.texts == {"msg": "CC(x)"} and event.fields["err"] == 7
    assert l0_log({PAGES: b"x"}).startswith(b"difftest l0 1\nproblem ")


@pytest.mark.hosted
@pytest.mark.proof
@pytest.mark.parametrize(
    ("check", "shown"),
    [
        ("ept-pdpte-load/not-present", r"part in L2 at 0x[0-9a-f]+ l2_mov_to_cr0. L0 carried the instruction out."),
        ("cr-masks/M-13/mp-ts-clear", r"L2 at .*L0 carried the instruction out.*\n(.*\n)*=> .* lmsw "),
        ("vm-entry/E-31/current", r"part in L1 at .*L0 did the VM entry"),
    ],
)
def test_a_real_check_parts_where_it_should(check: str, shown: str) -> None:
    argv = [sys.executable, "-m", "difftest.cli", "trace", check, "-q"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert re.search(shown, said.replace("  =>", "=>")), said
