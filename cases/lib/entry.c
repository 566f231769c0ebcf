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
    if (reason != EXIT_VMCALL)
        return ENTRY_OTHER_EXIT | reason;
    vmcs_write64(GUEST_RIP, vmcs_read64(GUEST_RIP) - (u32)(nothing.end - nothing.start));
    return ENTRY_RAN;
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
