"""Faults in the log of L0's kernel: which are KVM's, and which only happened there."""

from __future__ import annotations

import pytest

from emulators.hosted.kernel_log import MOST_FAULTS, faults

WARN = b"""\
[   10.000000] kvm: Nested Virtualization enabled
[   12.345678] ------------[ cut here ]------------
[   12.345679] WARNING: CPU: 0 PID: 104 at arch/x86/kvm/vmx/nested.c:3313 write_pml+0x1f/0x40 [kvm_intel]
[   12.345680] Modules linked in: kvm_intel kvm irqbypass
[   12.345681] RIP: 0010:write_pml+0x1f/0x40 [kvm_intel]
[   12.345682] Call Trace:
[   12.345683]  <TASK>
[   12.345684]  ? some_guess+0x1/0x2
[   12.345685]  handle_exit+0x10/0x20 [kvm_intel]
[   12.345686] ---[ end trace 0000000000000000 ]---
"""
ELSEWHERE = b"""\
[    3.0] WARNING: CPU: 0 PID: 1 at drivers/char/clock.c:12 set_clock+0x5/0x9
[    3.1] Modules linked in: kvm_intel kvm irqbypass
[    3.2] RIP: 0010:set_clock+0x5/0x9
[    3.3]  start_up+0x1/0x2
[    3.4] ---[ end trace 1 ]---
"""
USER_SPACE = b"[   20.1] traps: qemu-system-x86[104] general protection fault ip:7f00 sp:7ffe error:0 in libc.so.6\n"
NEWER = b"<4>[    9.9] WARNING: arch/x86/kvm/vmx/nested.c:3563 at write_pml+0x0/0x10 [kvm_intel], CPU#0: qemu/115\n"
OOPS_IN_KVM = b"""\
[    5.0] BUG: unable to handle page fault for address: ffff000000000008
[    5.1] Oops: 0002 [#1] PREEMPT SMP
[    5.2] RIP: 0010:memcpy+0x3/0x10
[    5.3]  load_state+0x11/0x20 [kvm]
[    5.4] ---[ end trace 2 ]---
"""


@pytest.mark.parametrize(
    ("log", "in_kvm"),
    [
        (WARN, [True]),
        (ELSEWHERE, [False]),
        (USER_SPACE, [False]),
        (NEWER, [True]),
        (OOPS_IN_KVM, [True]),
        (ELSEWHERE + WARN + USER_SPACE, [False, True, False]),
        (ELSEWHERE.replace(b" start_up", b" ? left_over+0x1/0x2 [kvm]\n[    3.3]  start_up"), [False]),
        (b"[    1.0] kvm: no hardware support\n", []),
        (b"", []),
    ],
)
def test_a_fault_is_kvms_with_kvm_on_its_call_stack(log: bytes, in_kvm: list[bool]) -> None:
    """That KVM's modules are linked in, as every fault lists, does not make it one."""
    assert [fault.in_kvm for fault in faults(log)] == in_kvm


def test_a_fault_has_its_line_and_its_call_trace() -> None:
    (fault,) = faults(WARN)
    assert fault.line.startswith("WARNING: CPU: 0 PID: 104 at arch/x86/kvm/vmx/nested.c:3313")
    assert fault.trace == ["write_pml", "handle_exit"], "a frame marked ? is a guess"


def test_a_log_full_of_faults_is_bounded() -> None:
    assert len(faults(WARN * (MOST_FAULTS + 20))) == MOST_FAULTS
    assert faults(b"\xff\xfe WARNING: \x00 at \n" * 3)[0].line
