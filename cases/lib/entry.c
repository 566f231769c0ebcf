#include "entry.h"

#include "l2_code.h"
#include "record.h"
#include "vmx.h"

L2_CODE(nothing, "nop");

void entry_prepare(void)
{
    l2_prepare(nothing.start);
}

u64 entry_try(void)
{
    u32 reason = 0;
    u32 error = vmx_run(&l2_registers, &reason);
    if (error != VM_SUCCEED)
        return error;
    if (reason & ENTRY_FAILURE)
        return ENTRY_FAILED(reason, vmcs_read(EXIT_QUALIFICATION));
    vmcs_write(GUEST_RIP, address_of(nothing.start));
    return reason == EXIT_VMCALL ? ENTRY_RAN : ENTRY_OTHER_EXIT | reason;
}

void must_enter(void)
{
    struct vm_exit exit = l2_try(&nothing);
    must_execute(&exit, &nothing);
}

void must_refuse_entry(u32 error)
{
    struct vm_exit exit = l2_try(&nothing);
    must_vmfail(exit.instruction_error, error);
    if (!exit.failed_entry)
        saw_exit(&exit, nothing.start);
}

void must_fail_entry(u32 reason, u32 qualification)
{
    struct vm_exit exit = l2_try(&nothing);
    if (!exit.failed_entry) {
        must("exit_reason", exit.reason, reason);
        must("exit_qualification", exit.qualification, qualification);
        must_stop_at(&exit, nothing.start);
    }
    saw_exit(&exit, nothing.start);
}
