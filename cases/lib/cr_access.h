/* VM exits for accesses to control registers (SDM, "Exit Qualification for Control-Register Accesses"). */
#pragma once

#include "l2_code.h"

enum cr_access_type { MOV_TO, MOV_FROM, CLTS, LMSW };
enum lmsw_operand { IN_REGISTER, IN_MEMORY };
enum general_register { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, GENERAL_REGISTERS };

/* The access that an instruction makes. What does not apply to it is 0, as it is in the exit qualification. */
struct cr_access {
    u32 cr;
    enum cr_access_type type;
    enum lmsw_operand operand;
    enum general_register general_register;
    u16 source;
};
#define MOV_TO_CR(number, from) ((struct cr_access){ .cr = number, .type = MOV_TO, .general_register = from })
#define MOV_FROM_CR(number, to) ((struct cr_access){ .cr = number, .type = MOV_FROM, .general_register = to })
#define CLTS_ACCESS ((struct cr_access){ .type = CLTS })
#define LMSW_OF(where, data) ((struct cr_access){ .type = LMSW, .operand = where, .source = data })

/* For sweeps: whether `code` exited for this access, with all that the SDM requires of such an exit. */
bool exited_on(const struct vm_exit *exit, const struct l2_code *code, struct cr_access access);

/* The same as requirements of the record, field by field. */
void must_exit_on(const struct vm_exit *exit, const struct l2_code *code, struct cr_access access);
