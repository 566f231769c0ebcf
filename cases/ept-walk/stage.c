#include "stage.h"

void window_at(enum paging paging, u64 guest_physical)
{
    l2_prepare(NULL);
    l2_window_use(paging);
    if (guest_physical)
        l2_window_move(guest_physical);
}

void access_must(enum l2_access access, struct ept_exit outcome)
{
    struct vm_exit exit = l2_window_access(access);
    switch (outcome.exit >> 32) {
    case EXIT_EPT_VIOLATION:
        must_violate(&exit, outcome);
        break;
    case EXIT_EPT_MISCONFIGURATION:
        must_misconfigure(&exit, outcome.guest_physical);
        break;
    default:
        must("exit_reason", exit.reason, outcome.exit >> 32);
    }
    if (outcome.exit >> 32 != EXIT_VMCALL)
        must_stop_at(&exit, l2_window_instruction(access));
    saw_exit(&exit, l2_window_instruction(access));
}

void access_turn(struct tally *tally, u64 turn, enum l2_access access, struct ept_exit outcome)
{
    struct vm_exit exit = l2_window_turn(access);
    tally_ept(tally, turn, &exit, outcome);
}

void ept_edit(u64 *entry, u64 clear, u64 set)
{
    *entry = (*entry & ~clear) | set;
    ept_flush();
}

void ept_protect_at(u64 guest_physical, u32 rights)
{
    ept_edit(ept_entry(guest_physical, EPT_PTE), EPT_ALL, rights);
}

void need_execute_only(void)
{
    if (!(ept_capabilities() & EPT_CAPABILITY_EXECUTE_ONLY))
        skip("no execute-only EPT entries");
}
