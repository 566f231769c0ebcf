/* External interrupts, their windows, and which event comes first. */
#include "stage.h"

#include "apic.h"

#define ACKNOWLEDGE "Acknowledging Interrupts: VM-Exit Controls (Vol. 3, 25.7.1)"
#define PRIORITIES "Other Causes of VM Exits (Vol. 3, 26.2); VMX-Preemption Timer (26.5.1)"

L2_CODE(nop, "nop");
L2_CODE(two_nops, "nop\nnop");
L2_CODE(sti, "sti\nnop\nnop");

L2_CODE(cli, "cli\nnop");

/* L2 meets an interrupt that is pending at VM entry. */
static struct vm_exit meet(u32 pin_based, u32 rflags, u32 interruptibility)
{
    l2_with_events(&two_nops, pin_based, 0);
    vmcs_write(GUEST_RFLAGS, rflags);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
    event_interrupt(VECTOR);
    return l2_run();
}

static void must_exit_unacknowledged(const struct vm_exit *exit)
{
    must_be_at(exit, &two_nops, EXIT_EXTERNAL_INTERRUPT, 0, ACTIVE);
    must("exit_interruption_valid", exit->interruption_information >> 31, 0);
    must_take_interrupt(VECTOR);
    saw_exit(exit, two_nops.start);
}

CHECK(exits, "interrupt/exits", NEEDS_L2, OTHER_EXITS,
      "External-interrupt exiting ends L2 for a pending interrupt, which L1 then takes when its RFLAGS.IF is 1")
{
    struct vm_exit exit = meet(EXTERNAL_INTERRUPT_EXITING, RFLAGS_IF, 0);
    must_exit_unacknowledged(&exit);
}

CHECK(exits_off, "interrupt/exits-if-0", NEEDS_L2, OTHER_EXITS,
      "External-interrupt exiting ends L2 for a pending interrupt also when L2 has RFLAGS.IF=0")
{
    struct vm_exit exit = meet(EXTERNAL_INTERRUPT_EXITING, RFLAGS_NO_IF, 0);
    must_exit_unacknowledged(&exit);
}

CHECK(acknowledged, "interrupt/acknowledged", NEEDS_L2, ACKNOWLEDGE,
      "A VM exit that acknowledges the interrupt has its vector in the interruption information, and none is pending")
{
    l2_with_events(&nop, EXTERNAL_INTERRUPT_EXITING, 0);
    vmcs_set_controls(VM_EXIT_CONTROLS, ACKNOWLEDGE_INTERRUPT, "no acknowledgement of interrupts on exit");
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    event_interrupt(VECTOR);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nop, EXIT_EXTERNAL_INTERRUPT, 0, ACTIVE);
    must("exit_interruption_information", exit.interruption_information, INFORMATION_VALID | VECTOR);
    apic_end(VECTOR);
    must_take_nothing();
    saw_exit(&exit, nop.start);
}

CHECK(acknowledged_8259, "interrupt/acknowledged-8259", NEEDS_L2, ACKNOWLEDGE,
      "A VM exit that acknowledges an interrupt of the 8259 has its vector in the interruption information")
{
    l2_with_events(&two_nops, EXTERNAL_INTERRUPT_EXITING | PREEMPTION_TIMER, 0);
    vmcs_set_controls(VM_EXIT_CONTROLS, ACKNOWLEDGE_INTERRUPT, "no acknowledgement of interrupts on exit");
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    set_timer(1 << 26);
    event_interrupt_later(2000);
    struct vm_exit exit = l2_run();
    must_exit_at(&exit, &two_nops, EXIT_EXTERNAL_INTERRUPT, 0);
    must("exit_interruption_information", exit.interruption_information, INFORMATION_VALID | 0x20);
    noted("activity_state", exit.activity_state);
}

CHECK(own, "interrupt/l2-takes", NEEDS_L2, OTHER_EXITS,
      "Without external-interrupt exiting an L2 with RFLAGS.IF=1 takes a pending interrupt before an instruction")
{
    struct vm_exit exit = meet(0, RFLAGS_IF, 0);
    must("vector", exit.vector, VECTOR);
    must_exit_at(&exit, &two_nops, EXIT_VMCALL, 0);
    apic_end(VECTOR);
    must_take_nothing();
    saw_exit(&exit, two_nops.start);
}

CHECK(own_off, "interrupt/l2-holds", NEEDS_L2, OTHER_EXITS,
      "Without external-interrupt exiting a pending interrupt waits while L2 has RFLAGS.IF=0, and L1 takes it later")
{
    struct vm_exit exit = meet(0, RFLAGS_NO_IF, 0);
    must_take_interrupt(VECTOR);
    must_execute(&exit, &two_nops);
}

CHECK(own_sti, "interrupt/l2-takes-after-sti-blocking", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry with blocking by STI lets L2 execute one instruction before it takes a pending interrupt")
{
    struct vm_exit exit = meet(0, RFLAGS_IF, BLOCKING_BY_STI);
    must("vector", exit.vector, VECTOR);
    must_exit_at(&exit, &two_nops, EXIT_VMCALL, 1);
    apic_end(VECTOR);
    saw_exit(&exit, two_nops.start);
}

CHECK(own_mov_ss, "interrupt/l2-takes-after-mov-ss-blocking", NEEDS_L2, INTERRUPTIBILITY,
      "VM entry with blocking by MOV SS lets L2 execute one instruction before it takes a pending interrupt")
{
    struct vm_exit exit = meet(0, RFLAGS_IF, BLOCKING_BY_MOV_SS);
    must("vector", exit.vector, VECTOR);
    must_exit_at(&exit, &two_nops, EXIT_VMCALL, 1);
    apic_end(VECTOR);
    saw_exit(&exit, two_nops.start);
}

/* Interrupt-window exiting. */
static void open_window(const struct l2_code *code, u32 rflags, u32 interruptibility, u32 offset)
{
    l2_with_events(code, 0, INTERRUPT_WINDOW_EXITING);
    vmcs_write(GUEST_RFLAGS, rflags);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, code, EXIT_INTERRUPT_WINDOW, offset, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, 0);
    saw_exit(&exit, code->start);
}

CHECK(window, "interrupt-window/open", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting ends an L2 with RFLAGS.IF=1 before its first instruction")
{
    open_window(&two_nops, RFLAGS_IF, 0, 0);
}

CHECK(window_closed, "interrupt-window/closed", NEEDS_L2, WINDOWS,
      "Control: interrupt-window exiting leaves an L2 with RFLAGS.IF=0 alone")
{
    l2_with_events(&cli, 0, INTERRUPT_WINDOW_EXITING);
    struct vm_exit exit = l2_run();
    must_execute(&exit, &cli);
}

CHECK(window_sti_blocking, "interrupt-window/sti-blocking", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting waits for one instruction while STI blocks")
{
    open_window(&two_nops, RFLAGS_IF, BLOCKING_BY_STI, 1);
}

CHECK(window_mov_ss_blocking, "interrupt-window/mov-ss-blocking", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting waits for one instruction while MOV SS blocks")
{
    open_window(&two_nops, RFLAGS_IF, BLOCKING_BY_MOV_SS, 1);
}

CHECK(window_sti, "interrupt-window/sti", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting ends L2 after the instruction that follows its STI")
{
    open_window(&sti, RFLAGS_NO_IF, 0, 2);
}

/* What a VM exit saves of blocking: the first instruction violates EPT. */
static u8 absent[PAGE_SIZE] PAGE_ALIGNED;
L2_CODE(read_absent, "movl (%ebx), %eax");

static void must_save_blocking(u32 blocking)
{
    l2_with_events(&read_absent, 0, 0);
    ept_protect(absent, EPT_NOTHING);
    l2_registers.ebx = address_of(absent);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, blocking);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &read_absent, EXIT_EPT_VIOLATION, 0, ACTIVE);
    must("interruptibility_state", exit.interruptibility_state, blocking);
    saw_exit(&exit, read_absent.start);
}

CHECK(saves_sti, "blocking/sti-saved", NEEDS_L2, SAVING_STATE,
      "An EPT violation of the first instruction of an L2 entered with blocking by STI saves that blocking")
{
    must_save_blocking(BLOCKING_BY_STI);
}

CHECK(saves_mov_ss, "blocking/mov-ss-saved", NEEDS_L2, SAVING_STATE,
      "An EPT violation of the first instruction of an L2 entered with blocking by MOV SS saves that blocking")
{
    must_save_blocking(BLOCKING_BY_MOV_SS);
}

L2_CODE(sti_vmcall, "sti");
L2_CODE(mov_ss_vmcall, "movl %ss, %eax\nmovl %eax, %ss");

CHECK(sti_vmcall_saves, "blocking/sti-vmcall", NEEDS_L2, SAVING_STATE,
      "The VMCALL that follows an STI exits with blocking by STI saved")
{
    l2_with_events(&sti_vmcall, 0, 0);
    struct vm_exit exit = l2_run();
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_STI);
    must_execute(&exit, &sti_vmcall);
}

CHECK(mov_ss_vmcall_saves, "blocking/mov-ss-vmcall", NEEDS_L2, SAVING_STATE,
      "The VMCALL that follows a MOV to SS exits with blocking by MOV SS saved")
{
    l2_with_events(&mov_ss_vmcall, 0, 0);
    struct vm_exit exit = l2_run();
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_MOV_SS);
    must_execute(&exit, &mov_ss_vmcall);
}

/* Two events at once. */
static void must_come_first(const struct vm_exit *exit, u32 reason)
{
    must_be_at(exit, &two_nops, reason, 0, ACTIVE);
    must("interruptibility_state", exit->interruptibility_state, 0);
    saw_exit(exit, two_nops.start);
}

CHECK(timer_first, "priority/timer-interrupt-window", NEEDS_L2, PRIORITIES,
      "A preemption timer of 0 exits before interrupt-window exiting does")
{
    l2_with_events(&two_nops, PREEMPTION_TIMER, INTERRUPT_WINDOW_EXITING);
    set_timer(0);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    struct vm_exit exit = l2_run();
    must_come_first(&exit, EXIT_PREEMPTION_TIMER);
}

CHECK(timer_nmi_window, "priority/timer-nmi-window", NEEDS_L2, PRIORITIES,
      "A preemption timer of 0 exits before NMI-window exiting does")
{
    l2_with_events(&two_nops, PREEMPTION_TIMER | NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING);
    set_timer(0);
    struct vm_exit exit = l2_run();
    must_come_first(&exit, EXIT_PREEMPTION_TIMER);
}

CHECK(timer_interrupt, "priority/timer-interrupt", NEEDS_L2, PRIORITIES,
      "A preemption timer of 0 exits before a pending interrupt does, which stays pending")
{
    l2_with_events(&two_nops, PREEMPTION_TIMER | EXTERNAL_INTERRUPT_EXITING, 0);
    set_timer(0);
    event_interrupt(VECTOR);
    struct vm_exit exit = l2_run();
    must_take_interrupt(VECTOR);
    must_come_first(&exit, EXIT_PREEMPTION_TIMER);
}

CHECK(nmi_window_first, "priority/nmi-window-interrupt-window", NEEDS_L2, PRIORITIES,
      "NMI-window exiting exits before interrupt-window exiting does")
{
    l2_with_events(&two_nops, NMI_EXITING | VIRTUAL_NMIS, NMI_WINDOW_EXITING | INTERRUPT_WINDOW_EXITING);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    struct vm_exit exit = l2_run();
    must_come_first(&exit, EXIT_NMI_WINDOW);
}

CHECK(window_first, "priority/interrupt-window-interrupt", NEEDS_L2, PRIORITIES,
      "Interrupt-window exiting exits before a pending interrupt does, which stays pending")
{
    l2_with_events(&two_nops, EXTERNAL_INTERRUPT_EXITING, INTERRUPT_WINDOW_EXITING);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    event_interrupt(VECTOR);
    struct vm_exit exit = l2_run();
    must_take_interrupt(VECTOR);
    must_come_first(&exit, EXIT_INTERRUPT_WINDOW);
}

CHECK(injection_first, "priority/injection-interrupt-window", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting waits for an injected event, whose handler runs with interrupts off")
{
    l2_with_events(&two_nops, 0, INTERRUPT_WINDOW_EXITING);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION_VALID | VECTOR);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, VECTOR); /* of an interrupt gate, which clears IF */
    must_exit_at(&exit, &two_nops, EXIT_VMCALL, 0);
    saw_exit(&exit, two_nops.start);
}

/* The preemption timer, by itself. */
CHECK(timer_kept, "timer/not-saved", NEEDS_L2, TIMER,
      "A VM exit without the control that saves it leaves the preemption timer's field as L1 wrote it")
{
    l2_with_events(&nop, PREEMPTION_TIMER, 0);
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, 0x7FFFFFFF);
    struct vm_exit exit = l2_run();
    must("timer_value", vmcs_read(VMX_PREEMPTION_TIMER_VALUE), 0x7FFFFFFF);
    must_execute(&exit, &nop);
}

CHECK(timer_saved, "timer/saved", NEEDS_L2, TIMER,
      "A VM exit with the control that saves it stores what is left of the preemption timer")
{
    l2_with_events(&nop, PREEMPTION_TIMER, 0);
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_PREEMPTION_TIMER, "no save of the preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, 0x7FFFFFFF);
    struct vm_exit exit = l2_run();
    u32 left = vmcs_read(VMX_PREEMPTION_TIMER_VALUE);
    noted("timer_value", left);
    must("timer_has_counted_down", left < 0x7FFFFFFF && left > 0x10000000, true);
    must_execute(&exit, &nop);
}

CHECK(timer_expired, "timer/saved-expired", NEEDS_L2, TIMER,
      "A VM exit that the preemption timer causes stores 0 in its field with the control that saves it")
{
    l2_with_events(&nop, PREEMPTION_TIMER, 0);
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_PREEMPTION_TIMER, "no save of the preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, 0x7FFFFFFF);
    struct vm_exit before = l2_run();
    must("exit_reason_before", before.reason, EXIT_VMCALL);
    set_timer(0);
    struct vm_exit exit = l2_try(&nop);
    noted("timer_value", vmcs_read(VMX_PREEMPTION_TIMER_VALUE));
    must("timer_value_is_0", !vmcs_read(VMX_PREEMPTION_TIMER_VALUE), true);
    must_be_at(&exit, &nop, EXIT_PREEMPTION_TIMER, 0, ACTIVE);
    saw_exit(&exit, nop.start);
}

/* The monitor trap flag. */
L2_CODE(three, "movl $1, %eax\nmovl $2, %eax");
enum { MOV_BYTES = 5 };

CHECK(mtf, "monitor-trap-flag/one-instruction", NEEDS_L2, "Monitor Trap Flag (Vol. 3, 26.5.2)",
      "The monitor trap flag ends L2 after one instruction")
{
    l2_with_events(&three, 0, MONITOR_TRAP_FLAG);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &three, EXIT_MONITOR_TRAP_FLAG, MOV_BYTES, ACTIVE);
    must("eax", exit.registers.eax, 1);
    saw_exit(&exit, three.start);
}

CHECK(mtf_injected, "monitor-trap-flag/injected", NEEDS_L2, "Monitor Trap Flag (Vol. 3, 26.5.2)",
      "The monitor trap flag with an injected interrupt ends L2 before the first instruction of its handler")
{
    extern const char l2_entries[];
    l2_with_events(&three, 0, MONITOR_TRAP_FLAG);
    vmcs_write(GUEST_RFLAGS, RFLAGS_IF);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION_VALID | VECTOR);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_MONITOR_TRAP_FLAG);
    must("handler_offset", exit.rip - address_of(l2_entries) - 16 * VECTOR, 0);
    saw_exit(&exit, three.start);
}

CHECK(mtf_pending, "monitor-trap-flag/pending", NEEDS_L2, "Injection of Pending MTF VM Exits (Vol. 3, 27.6.2)",
      "An injected pending MTF exit ends L2 before its first instruction")
{
    enum { OTHER_EVENT = 7 << 8 };
    l2_with_events(&three, 0, 0);
    if (!(vmcs_allowed_controls(PRIMARY_PROCESSOR_BASED_CONTROLS) >> 32 & MONITOR_TRAP_FLAG))
        skip("no monitor trap flag");
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION_VALID | OTHER_EVENT);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &three, EXIT_MONITOR_TRAP_FLAG, 0, ACTIVE);
    saw_exit(&exit, three.start);
}
