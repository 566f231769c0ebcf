#include "l2_code.h"

#include "cpu.h"
#include "record.h"
#include "vectors.h"
#include "vmx.h"

enum { HARDWARE_EXCEPTION = 3 << 8 };

struct vm_exit l2_try(const struct l2_code *code)
{
    vmcs_write(GUEST_RIP, address_of(code->start));
    return l2_run();
}

/* What this field holds for an exit by an exception (SDM, "Information for VM Exits Due to Vectored Events"). */
static u32 interruption_information_of(u32 vector, u32 cr0)
{
    return 1u << 31 | (PUSHES_ERROR_CODE(vector) && cr0 & CR0_PE ? 1u << 11 : 0) | HARDWARE_EXCEPTION | vector;
}

bool executed(const struct vm_exit *exit, const struct l2_code *code)
{
    return !exit->failed_entry && exit->reason == EXIT_VMCALL && exit->rip == address_of(code->end);
}

void must_execute(const struct vm_exit *exit, const struct l2_code *code)
{
    if (!exit->failed_entry) {
        must("exit_reason", exit->reason, EXIT_VMCALL);
        must("rip_offset", rip_offset(exit, code->start), (u32)(code->end - code->start));
    }
    saw_exit(exit, code->start);
}

void must_take_exception(const struct vm_exit *exit, const struct l2_code *code, u32 vector, u32 error_code)
{
    if (!exit->failed_entry) {
        bool intercepted = vmcs_read(EXCEPTION_BITMAP) >> vector & 1;
        must("exit_reason", exit->reason, intercepted ? EXIT_EXCEPTION_OR_NMI : EXIT_VMCALL);
        must("exception", exit->exception, true);
        if (exit->exception) {
            must("vector", exit->vector, vector);
            must("error_code", exit->error_code, error_code);
        }
        if (exit->exception && intercepted)
            must("exit_interruption_information", exit->interruption_information,
                 interruption_information_of(vector, exit->cr0));
        must_stop_at(exit, code->start);
    }
    saw_exit(exit, code->start);
}
