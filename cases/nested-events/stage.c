#include "stage.h"

#include "apic.h"

enum { COMMAND_LOW = 0x300, NMI_TO_TARGET = 4 << 8 | 1 << 14 };

L2_CODE(nmi_by_l2, "movl %eax, (%ebx)\nnop\nnop");
L2_CODE(iret_of_l2, "pushfl\npushl %cs\npushl $1f\niret\n1:");

/* Virtual-NMI blocking is L2's; nothing of L1's ends it. */
static void end_virtual_blocking(void)
{
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, BLOCKING_BY_NMI);
    u32 rip = vmcs_read(GUEST_RIP), rsp = vmcs_read(GUEST_RSP);
    l2_try(&iret_of_l2);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs_write(GUEST_RIP, rip);
    vmcs_write(GUEST_RSP, rsp);
}

void l2_with_events(const struct l2_code *code, u32 pin_based, u32 primary)
{
    l2_prepare(code->start);
    events_start();
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, HLT_EXITING, "HLT exiting is fixed to 1");
    vmcs_set_controls(PIN_BASED_CONTROLS, pin_based, "a pin-based control is missing");
    if (pin_based & VIRTUAL_NMIS)
        end_virtual_blocking();
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, primary, "a primary processor-based control is missing");
}

void set_timer(u32 ticks)
{
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, ticks >> vmx_preemption_timer_shift());
}

void block_nmis(void)
{
    u32 pin_based = vmcs_read(PIN_BASED_CONTROLS), primary = vmcs_read(PRIMARY_PROCESSOR_BASED_CONTROLS);
    u32 rip = vmcs_read(GUEST_RIP);
    vmcs_write(PIN_BASED_CONTROLS, (pin_based & ~(VIRTUAL_NMIS | PREEMPTION_TIMER)) | NMI_EXITING);
    vmcs_write(PRIMARY_PROCESSOR_BASED_CONTROLS, primary & ~(NMI_WINDOW_EXITING | INTERRUPT_WINDOW_EXITING));
    ept_map(LOCAL_APIC, (const void *)LOCAL_APIC, EPT_READ | EPT_WRITE);
    event_nmi(); /* its destination serves the next, too */
    l2_registers.ebx = LOCAL_APIC + COMMAND_LOW;
    l2_registers.eax = NMI_TO_TARGET;
    struct vm_exit exit = l2_try(&nmi_by_l2);
    must("blocking_exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("blocking_interruption_information", exit.interruption_information, NMI_INFORMATION);
    vmcs_write(PIN_BASED_CONTROLS, pin_based);
    vmcs_write(PRIMARY_PROCESSOR_BASED_CONTROLS, primary);
    vmcs_write(GUEST_RIP, rip);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, 0);
    l2_registers = (struct general_registers){ 0 };
}

void must_exit_at(const struct vm_exit *exit, const struct l2_code *code, u32 reason, u32 offset)
{
    if (exit->failed_entry)
        return;
    must("exit_reason", exit->reason, reason);
    must("rip_offset", rip_offset(exit, code->start), offset);
}

void must_be_at(const struct vm_exit *exit, const struct l2_code *code, u32 reason, u32 offset, u32 activity)
{
    must_exit_at(exit, code, reason, offset);
    if (!exit->failed_entry)
        must("activity_state", exit->activity_state, activity);
}
