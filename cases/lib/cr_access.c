#include "cr_access.h"

#include "record.h"

enum { RESERVED = 0xF080 }; /* of the exit qualification, "cleared to 0": bits 7 and 15:12 */

static u32 qualification_of(struct cr_access access)
{
    return access.cr | access.type << 4 | access.operand << 6 | access.general_register << 8 | (u32)access.source << 16;
}

bool exited_on(const struct vm_exit *exit, const struct l2_code *code, struct cr_access access)
{
    return !exit->failed_entry && exit->reason == EXIT_CONTROL_REGISTER_ACCESS &&
           exit->rip == address_of(code->start) && exit->instruction_length == (u32)(code->end - code->start) &&
           exit->qualification == qualification_of(access);
}

void must_exit_on(const struct vm_exit *exit, const struct l2_code *code, struct cr_access access)
{
    if (!exit->failed_entry) {
        must("exit_reason", exit->reason, EXIT_CONTROL_REGISTER_ACCESS);
        must_stop_at(exit, code->start);
    }
    if (!exit->failed_entry && exit->reason == EXIT_CONTROL_REGISTER_ACCESS) {
        u32 qualification = exit->qualification;
        must("exit_qualification_cr", qualification & 15, access.cr);
        must("exit_qualification_access_type", qualification >> 4 & 3, access.type);
        must("exit_qualification_lmsw_operand", qualification >> 6 & 1, access.operand);
        must("exit_qualification_register", qualification >> 8 & 15, access.general_register);
        must("exit_qualification_lmsw_source", qualification >> 16, access.source);
        must("exit_qualification_reserved", qualification & RESERVED, 0);
        must("instruction_length", exit->instruction_length, (u32)(code->end - code->start));
    }
    saw_exit(exit, code->start);
}
