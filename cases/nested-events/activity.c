/* F-06: the activity state that a VM exit out of HLT saves. */
#include "l2_modes.h"
#include "stage.h"

enum { TRIES = 5, FIRST_TICKS = 1 << 18, FIRST_PIT_TICKS = 4000, LAST_RESORT = 1 << 26 };

L2_CODE(hlt, "hlt");
L2_CODE(nop, "nop");

CHECK(active, "F-06/active", NEEDS_L2, SAVING_STATE,
      "Control: the preemption timer that ends L2 in front of a HLT saves activity state 0")
{
    l2_with_events(&hlt, PREEMPTION_TIMER, 0);
    set_timer(0);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &hlt, EXIT_PREEMPTION_TIMER, 0, ACTIVE);
    saw_exit(&exit, hlt.start);
}

CHECK(hlt_exits, "F-06/hlt-exiting", NEEDS_L2, SAVING_STATE,
      "Control: a HLT of L2 that exits saves activity state 0, with RIP at the HLT")
{
    l2_prepare(hlt.start);
    struct vm_exit exit = l2_try(&hlt);
    must_be_at(&exit, &hlt, EXIT_HLT, 0, ACTIVE);
    must("instruction_length", exit.instruction_length, 1);
    saw_exit(&exit, hlt.start);
}

/* Enter again: L2 halts where it was, until the timer. */
static void must_halt_again(const struct vm_exit *exit, const struct l2_code *code, u32 offset)
{
    vmcs_set_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "no preemption timer");
    set_timer(1 << 16);
    struct vm_exit again = l2_run();
    must("resumed_exit_reason", again.reason, EXIT_PREEMPTION_TIMER);
    must("resumed_rip_offset", rip_offset(&again, code->start), offset);
    must("resumed_activity_state", again.activity_state, HALTED);
    saw_exit(exit, code->start);
}

CHECK(timer_entered, "F-06/timer-entered-halted", NEEDS_L2, SAVING_STATE,
      "The preemption timer that ends an L2 entered in the HLT state saves activity state 1")
{
    l2_with_events(&nop, PREEMPTION_TIMER, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    set_timer(1 << 16);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_PREEMPTION_TIMER, 0, HALTED);
    must_halt_again(&exit, &nop, 0);
}

CHECK(entered_state, "F-06/state-entered-halted", NEEDS_L2, SAVING_STATE,
      "An L2 that is entered in the HLT state and never runs saves the control registers and PDPTEs of its entry")
{
    u64 pdptes[4];
    l2_with_events(&nop, PREEMPTION_TIMER, 0);
    l2_use_pae_paging();
    for (u32 index = 0; index < 4; index++)
        pdptes[index] = l2_tables.pae.pdpt[index];
    l2_turn_paging_on();
    u32 cr0 = vmcs_read(GUEST_CR0) | CR0_WP, cr3 = vmcs_read(GUEST_CR3);
    vmcs_write(GUEST_CR0, cr0);
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PAE | CR4_DE);
    vmcs_write(GUEST_RSP, 0x123450);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF | 1);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    set_timer(1 << 16);
    struct vm_exit exit = l2_run();
    must("cr0", exit.cr0, cr0);
    must("cr3", exit.cr3, cr3);
    must("cr4", exit.cr4, CR4_VMXE | CR4_PAE | CR4_DE);
    must("rsp", exit.rsp, 0x123450);
    must("rflags", exit.rflags, RFLAGS_IF | 1);
    must_hold_pdptes(&exit, pdptes);
    must_exit_at(&exit, &nop, EXIT_PREEMPTION_TIMER, 0);
}

CHECK(timer, "F-06/timer", NEEDS_L2, SAVING_STATE,
      "The preemption timer that ends a HLT of L2 saves activity state 1, and VMRESUME halts again")
{
    struct vm_exit exit = { 0 };
    for (u32 tries = 0, ticks = FIRST_TICKS; tries < TRIES; tries++, ticks <<= 3) {
        l2_with_events(&hlt, PREEMPTION_TIMER, 0);
        set_timer(ticks);
        exit = l2_run();
        if (rip_offset(&exit, hlt.start))
            break;
    }
    must_be_at(&exit, &hlt, EXIT_PREEMPTION_TIMER, 1, HALTED);
    must_halt_again(&exit, &hlt, 1);
}

/* The timer ends what nothing else ends. */
static void halt_with_interrupt(u32 rflags)
{
    l2_with_events(&nop, EXTERNAL_INTERRUPT_EXITING | PREEMPTION_TIMER, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    vmcs_write(GUEST_RFLAGS, rflags);
    set_timer(LAST_RESORT);
    event_interrupt(VECTOR);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_EXTERNAL_INTERRUPT, 0, HALTED);
    must_take_interrupt(VECTOR);
    must_halt_again(&exit, &nop, 0);
}

CHECK(interrupt_entered, "F-06/interrupt-entered-halted", NEEDS_L2, SAVING_STATE,
      "A pending interrupt that ends an L2 entered in the HLT state with RFLAGS.IF=1 saves activity state 1")
{
    halt_with_interrupt(RFLAGS_IF);
}

CHECK(interrupt_entered_off, "F-06/interrupt-entered-halted-if-0", NEEDS_L2, OTHER_EXITS,
      "External-interrupt exiting ends an L2 entered in the HLT state whatever RFLAGS.IF is")
{
    halt_with_interrupt(RFLAGS_NO_IF);
}

static void pass_time(const struct l2_code *code, u32 control, void (*later)(u32 ticks), u32 reason)
{
    struct vm_exit exit = { 0 };
    for (u32 tries = 0, ticks = FIRST_PIT_TICKS; tries < TRIES; tries++, ticks *= 2) {
        l2_with_events(code, control | PREEMPTION_TIMER, 0);
        vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
        set_timer(LAST_RESORT);
        later(ticks);
        exit = l2_run();
        if (rip_offset(&exit, code->start))
            break;
    }
    must_be_at(&exit, code, reason, 1, HALTED);
    events_let_in();
    nmis_unblock();
    must_halt_again(&exit, code, 1);
}

CHECK(interrupt, "F-06/interrupt", NEEDS_L2, SAVING_STATE,
      "An external interrupt that ends a HLT of L2 by a VM exit saves activity state 1, and VMRESUME halts again")
{
    pass_time(&hlt, EXTERNAL_INTERRUPT_EXITING, event_interrupt_later, EXIT_EXTERNAL_INTERRUPT);
}

CHECK(nmi, "F-06/nmi", NEEDS_L2, SAVING_STATE,
      "An NMI that ends a HLT of L2 by a VM exit saves activity state 1, and VMRESUME halts again")
{
    pass_time(&hlt, NMI_EXITING, event_nmi_later, EXIT_EXCEPTION_OR_NMI);
}

CHECK(nmi_entered, "F-06/nmi-entered-halted", NEEDS_L2, SAVING_STATE,
      "A pending NMI that ends an L2 entered in the HLT state saves activity state 1")
{
    l2_with_events(&nop, NMI_EXITING | PREEMPTION_TIMER, 0);
    block_nmis();
    event_nmi();
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    set_timer(LAST_RESORT);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_EXCEPTION_OR_NMI, 0, HALTED);
    must_halt_again(&exit, &nop, 0);
}

/* Events that L2 takes itself: it is no longer halted in its handler. */
CHECK(injected, "F-06/injected", NEEDS_L2, "Activity State (Vol. 3, 27.7.2)",
      "An interrupt that VM entry injects into the HLT state wakes L2: its handler runs, with activity state 0")
{
    l2_with_events(&nop, 0, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION_VALID | VECTOR);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, VECTOR);
    must_be_at(&exit, &nop, EXIT_VMCALL, 0, ACTIVE);
    saw_exit(&exit, nop.start);
}

CHECK(own_interrupt, "F-06/own-interrupt", NEEDS_L2, "Activity State (Vol. 3, 27.7.2)",
      "An interrupt that does not exit wakes an L2 entered in the HLT state: its handler runs, with activity state 0")
{
    l2_with_events(&nop, 0, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    event_interrupt(VECTOR);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, VECTOR);
    must_be_at(&exit, &nop, EXIT_VMCALL, 0, ACTIVE);
    saw_exit(&exit, nop.start);
}

CHECK(woken, "F-06/woken-by-window", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting ends an L2 entered in the HLT state with RFLAGS.IF=1 at once")
{
    l2_with_events(&nop, PREEMPTION_TIMER, INTERRUPT_WINDOW_EXITING);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    set_timer(LAST_RESORT);
    struct vm_exit exit = l2_run();
    must_exit_at(&exit, &nop, EXIT_INTERRUPT_WINDOW, 0);
    noted("activity_state", exit.activity_state); /* the exit wakes L2, and the SDM does not say which state is saved */
    saw_exit(&exit, nop.start);
}

CHECK(woken_by_nmi_window, "F-06/woken-by-nmi-window", NEEDS_L2, WINDOWS,
      "NMI-window exiting ends an L2 entered in the HLT state at once")
{
    l2_with_events(&nop, PREEMPTION_TIMER | NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    set_timer(LAST_RESORT);
    struct vm_exit exit = l2_run();
    must_exit_at(&exit, &nop, EXIT_NMI_WINDOW, 0);
    noted("activity_state", exit.activity_state);
    saw_exit(&exit, nop.start);
}
