/* F-07: which VM exits and entries block NMIs, and which unblock them, with virtual NMIs and without. */
#include "stage.h"

L2_CODE(nop, "nop");
L2_CODE(iret, "pushfl\npushl %cs\npushl $1f\niret\n1: nop");

static void must_be_blocked(bool required)
{
    u32 before = events_seen().nmis;
    bool blocked = nmis_are_blocked();
    must("nmis_blocked", blocked, required);
    nmis_unblock();
    must("nmis_delivered_at_last", events_seen().nmis - before, 1);
}

CHECK(l1, "F-07/l1", NEEDS_NOTHING, "Nonmaskable Interrupt (NMI) (Vol. 3, 6.7)",
      "Control: NMIs are not blocked in L1 after IRET: one that the local APIC raises is delivered")
{
    events_start();
    must_be_blocked(false);
}

CHECK(nmi_exit, "F-07/nmi-exit", NEEDS_L2, AFTER_EXIT, "A VM exit by an NMI blocks NMIs in L1 until IRET")
{
    l2_with_events(&nop, 0, 0);
    block_nmis();
    must_be_blocked(true);
}

/* L2 runs with these controls, and with this interruptibility state at entry; VMCALL ends it. */
static struct vm_exit pass(const struct l2_code *code, u32 pin_based, u32 interruptibility)
{
    l2_with_events(code, pin_based, 0);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
    return l2_run();
}

static struct vm_exit pass_from_blocked(u32 pin_based)
{
    l2_with_events(&nop, pin_based, 0);
    block_nmis();
    return l2_run();
}

/* After L2 has come to its VMCALL: NMIs are blocked, in L2 as saved, and in L1. */
static void must_leave(const struct vm_exit *exit, const struct l2_code *code, u32 saved, bool in_l1)
{
    must("interruptibility_state", exit->interruptibility_state, saved);
    must_be_blocked(in_l1);
    must_execute(exit, code);
}

CHECK(vmcall, "F-07/vmcall", NEEDS_L2, AFTER_EXIT,
      "Control: an L2 entered and left without blocking leaves NMIs unblocked in L1")
{
    struct vm_exit exit = pass(&nop, 0, 0);
    must_leave(&exit, &nop, 0, false);
}

CHECK(unblocked, "F-07/entry-unblocks", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry without blocking by NMI from an L1 with NMIs blocked unblocks them, also after the exit")
{
    struct vm_exit exit = pass_from_blocked(0);
    must_leave(&exit, &nop, 0, false);
}

CHECK(blocked, "F-07/entry-blocks", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry with blocking by NMI, without virtual NMIs, blocks NMIs, also in L1 after a VMCALL")
{
    struct vm_exit exit = pass(&nop, 0, BLOCKING_BY_NMI);
    must_leave(&exit, &nop, BLOCKING_BY_NMI, true);
}

CHECK(blocked_iret, "F-07/iret", NEEDS_L2, INTERRUPTIBILITY,
      "IRET in an L2 entered with blocking by NMI, without virtual NMIs, unblocks NMIs, also in L1 after a VMCALL")
{
    struct vm_exit exit = pass(&iret, 0, BLOCKING_BY_NMI);
    must_leave(&exit, &iret, 0, false);
}

CHECK(exiting_iret, "F-07/iret-nmi-exiting", NEEDS_L2, INTERRUPTIBILITY,
      "IRET in an L2 with NMI exiting and without virtual NMIs leaves NMIs blocked")
{
    struct vm_exit exit = pass(&iret, NMI_EXITING, BLOCKING_BY_NMI);
    must_leave(&exit, &iret, BLOCKING_BY_NMI, true);
}

CHECK(virtual_open, "F-07/virtual-nmis", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry with virtual NMIs from an L1 with NMIs blocked unblocks them: after a VMCALL L1 gets an NMI at once")
{
    struct vm_exit exit = pass_from_blocked(NMI_EXITING | VIRTUAL_NMIS);
    must_leave(&exit, &nop, 0, false);
}

CHECK(virtual_blocked, "F-07/virtual-nmis-blocked", NEEDS_L2, INTERRUPTIBILITY,
      "Blocking by NMI of an L2 with virtual NMIs is saved, and blocks no NMI in L1 after a VMCALL")
{
    struct vm_exit exit = pass(&nop, NMI_EXITING | VIRTUAL_NMIS, BLOCKING_BY_NMI);
    must_leave(&exit, &nop, BLOCKING_BY_NMI, false);
}

CHECK(virtual_iret, "F-07/virtual-nmis-iret", NEEDS_L2, INTERRUPTIBILITY,
      "IRET in an L2 with virtual NMIs ends its virtual-NMI blocking")
{
    struct vm_exit exit = pass(&iret, NMI_EXITING | VIRTUAL_NMIS, BLOCKING_BY_NMI);
    must_leave(&exit, &iret, 0, false);
}

/* An NMI that is pending at VM entry. */
static struct vm_exit meet_nmi(u32 pin_based, u32 interruptibility)
{
    l2_with_events(&nop, pin_based, 0);
    block_nmis();
    event_nmi();
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
    return l2_run();
}

CHECK(pending_exits, "F-07/pending-exits", NEEDS_L2, OTHER_EXITS,
      "An NMI pending at VM entry with NMI exiting ends L2 before its first instruction, and NMIs are blocked again")
{
    struct vm_exit exit = meet_nmi(NMI_EXITING, 0);
    must_be_at(&exit, &nop, EXIT_EXCEPTION_OR_NMI, 0, ACTIVE);
    must("exit_interruption_information", exit.interruption_information, NMI_INFORMATION);
    must_be_blocked(true);
    saw_exit(&exit, nop.start);
}

CHECK(pending_virtual, "F-07/pending-exits-virtual-blocked", NEEDS_L2, OTHER_EXITS,
      "Virtual-NMI blocking holds no NMI back: one that is pending at VM entry ends L2 before its first instruction")
{
    struct vm_exit exit = meet_nmi(NMI_EXITING | VIRTUAL_NMIS, BLOCKING_BY_NMI);
    must_be_at(&exit, &nop, EXIT_EXCEPTION_OR_NMI, 0, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_NMI);
    must_be_blocked(true);
    saw_exit(&exit, nop.start);
}

CHECK(pending_taken, "F-07/pending-taken", NEEDS_L2, INTERRUPTIBILITY,
      "An NMI pending at VM entry without NMI exiting is delivered by L2's IDT, and NMIs are blocked then")
{
    struct vm_exit exit = meet_nmi(0, 0);
    must("vector", exit.vector, VECTOR_NMI);
    must_be_at(&exit, &nop, EXIT_VMCALL, 0, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_NMI);
    must_be_blocked(true);
    saw_exit(&exit, nop.start);
}

CHECK(pending_held, "F-07/pending-held", NEEDS_L2, INTERRUPTIBILITY,
      "An NMI pending at VM entry with blocking by NMI, without virtual NMIs, stays pending")
{
    struct vm_exit exit = meet_nmi(0, BLOCKING_BY_NMI);
    u32 before = events_seen().nmis;
    nmis_unblock();
    must("nmis_delivered_at_last", events_seen().nmis - before, 1);
    must_execute(&exit, &nop);
}

/* NMI-window exiting. */
CHECK(window, "F-07/window", NEEDS_L2, OTHER_EXITS,
      "NMI-window exiting ends an L2 without virtual-NMI blocking before its first instruction")
{
    l2_with_events(&nop, NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_NMI_WINDOW, 0, ACTIVE);
    saw_exit(&exit, nop.start);
}

CHECK(window_iret, "F-07/window-iret", NEEDS_L2, OTHER_EXITS,
      "NMI-window exiting ends an L2 with virtual-NMI blocking just after its IRET")
{
    l2_with_events(&iret, NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, BLOCKING_BY_NMI);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &iret, EXIT_NMI_WINDOW, (u32)(iret.end - iret.start) - 1, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, 0);
    saw_exit(&exit, iret.start);
}

CHECK(window_mov_ss, "F-07/window-mov-ss", NEEDS_L2, OTHER_EXITS,
      "NMI-window exiting waits for one instruction while MOV SS blocks")
{
    l2_with_events(&nop, NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, BLOCKING_BY_MOV_SS);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_NMI_WINDOW, 1, ACTIVE);
    saw_exit(&exit, nop.start);
}

CHECK(window_again, "F-07/window-after-blocked-entry", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry without virtual-NMI blocking ends what an earlier one began: NMI-window exiting exits at once")
{
    l2_with_events(&nop, NMI_EXITING | VIRTUAL_NMIS, 0);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, BLOCKING_BY_NMI);
    struct vm_exit before = l2_run();
    must("exit_reason_before", before.reason, EXIT_VMCALL);
    must("interruptibility_state_before", before.interruptibility_state, BLOCKING_BY_NMI);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, NMI_WINDOW_EXITING, "no NMI-window exiting");
    struct vm_exit exit = l2_try(&nop);
    must_be_at(&exit, &nop, EXIT_NMI_WINDOW, 0, ACTIVE);
    saw_exit(&exit, nop.start);
}

/* An injected NMI. */
static struct vm_exit inject_nmi(u32 pin_based)
{
    l2_with_events(&nop, pin_based, 0);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, NMI_INFORMATION);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, VECTOR_NMI);
    must_be_at(&exit, &nop, EXIT_VMCALL, 0, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_NMI);
    return exit;
}

CHECK(injected, "F-07/injected", NEEDS_L2, "Effects of Event Injection (Vol. 3, 27.6.1)",
      "An NMI that VM entry injects without virtual NMIs blocks NMIs, also in L1 after the handler's VMCALL")
{
    struct vm_exit exit = inject_nmi(0);
    must_be_blocked(true);
    saw_exit(&exit, nop.start);
}

CHECK(injected_virtual, "F-07/injected-virtual", NEEDS_L2, "Effects of Event Injection (Vol. 3, 27.6.1)",
      "An NMI that VM entry injects with virtual NMIs sets virtual-NMI blocking, and blocks no NMI in L1")
{
    struct vm_exit exit = inject_nmi(NMI_EXITING | VIRTUAL_NMIS);
    must_be_blocked(false);
    saw_exit(&exit, nop.start);
}

/* A fault of the IRET itself: its stack is absent from EPT. */
static u8 stack[PAGE_SIZE] PAGE_ALIGNED;
L2_CODE(iret_alone, "iret");
enum { UNBLOCKED_BY_IRET = 12 };

static void fault_in_iret(u32 interruptibility)
{
    l2_with_events(&iret_alone, NMI_EXITING | VIRTUAL_NMIS, 0);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
    vmcs_write(GUEST_RSP, address_of(stack));
    ept_protect(stack, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &iret_alone, EXIT_EPT_VIOLATION, 0, ACTIVE);
    must("nmi_unblocking_due_to_iret", exit.qualification >> UNBLOCKED_BY_IRET & 1, !!interruptibility);
    must("interruptibility_state", exit.interruptibility_state, 0);
    saw_exit(&exit, iret_alone.start);
}

CHECK(iret_violation, "F-07/iret-violation-unblocked", NEEDS_L2, QUALIFICATION,
      "Control: an EPT violation of an IRET without virtual-NMI blocking has bit 12 of the exit qualification clear")
{
    fault_in_iret(0);
}

CHECK(iret_violation_blocked, "F-07/iret-violation", NEEDS_L2, QUALIFICATION,
      "An EPT violation of an IRET that ends virtual-NMI blocking has bit 12 of the exit qualification set")
{
    fault_in_iret(BLOCKING_BY_NMI);
}
