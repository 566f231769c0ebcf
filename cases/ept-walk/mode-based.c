/* W-18 and W-19: mode-based execute control, and what advanced VM-exit information says of the guest's own rights. */
#include "stage.h"

enum { EXECUTE_USER = 1 << 10, ALLOWED_USER_FETCH = 1 << 6 };
enum { SUPERVISOR, USER, MODES };

/* Four rights: reads, writes, fetches from supervisor-mode and from user-mode linear addresses. */
static u32 entry_rights(u32 number)
{
    return (number & EPT_ALL) | (number & 8 ? EXECUTE_USER : 0);
}

static struct ept_exit outcome(enum l2_access access, u32 rights, u32 mode)
{
    u32 fetch = mode == USER ? EXECUTE_USER : EPT_EXECUTE;
    u64 linear = l2_window_linear(access), address = OWN_PML4E + linear % PAGE_SIZE;
    if (!(rights & EPT_READ) && rights & EPT_WRITE)
        return ept_misconfiguration(address);
    if (rights & (access == L2_FETCH ? fetch : EPT_READ))
        return ept_passes();
    return violation_of_page(1u << access, rights & EPT_ALL, address, linear);
}

CHECK(mode_based, "W-18/rights", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "With mode-based execute control fetches need bit 2 of an EPT PTE or bit 10, by their mode, and an EPT violation "
      "reports both")
{
    struct tally tally = { 0 };
    need_execute_only();
    for (u32 mode = SUPERVISOR; mode < MODES; mode++) {
        window_at(PAGING_PAE, OWN_PML4E);
        vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, MODE_BASED_EXECUTE_CONTROL,
                          "no mode-based execute control for EPT");
        for (enum ept_level level = EPT_PDE; level <= EPT_PML4E; level++)
            ept_edit(ept_entry(OWN_PML4E, level), 0, EXECUTE_USER);
        if (mode == SUPERVISOR)
            l2_window_set(LEVEL_PTE, l2_window_entry(LEVEL_PTE) & ~(u64)PTE_USER);
        for (u32 number = 0; number < 16; number++) {
            u32 rights = entry_rights(number);
            ept_edit(ept_entry(OWN_PML4E, EPT_PTE), EPT_ALL | EXECUTE_USER, rights);
            for (enum l2_access access = L2_READ; access <= L2_FETCH; access += L2_FETCH) {
                struct vm_exit exit = l2_window_turn(access);
                u64 turn = turn_of(mode << 4 | number, access);
                tally_ept(&tally, turn, &exit, outcome(access, rights, mode));
                if (exit.reason == EXIT_EPT_VIOLATION)
                    tally_turn(&tally, turn, exit.qualification & ALLOWED_USER_FETCH,
                               rights & EXECUTE_USER ? ALLOWED_USER_FETCH : 0);
            }
        }
    }
    must_tally(&tally);
}

enum { ADVANCED = 7 << 9, LINEAR_IS_USER = 1 << 9, LINEAR_IS_WRITABLE = 1 << 10, LINEAR_IS_XD = 1 << 11 };

CHECK(advanced, "W-19/pae", NEEDS_L2, EXIT_QUALIFICATION_TABLE ", bits 11:9",
      "An EPT violation reports in bits 11:9 whether the guest's paging structures allow user mode, writes and fetches")
{
    struct tally tally = { 0 };
    if (!(ept_capabilities() & EPT_CAPABILITY_ADVANCED_INFORMATION))
        skip("no advanced VM-exit information for EPT violations");
    window_at(PAGING_PAE, OWN_PML4E);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
    vmcs_write64(GUEST_IA32_EFER, EFER_NXE);
    ept_protect_at(OWN_PML4E, EPT_NOTHING);
    u64 plain = l2_window_entry(LEVEL_PTE) & ~(u64)(PTE_USER | PTE_WRITABLE);
    for (u32 number = 0; number < 8; number++) {
        bool user = number & 1, writable = number & 2, disabled = number & 4;
        l2_window_set(LEVEL_PTE, plain | (user ? PTE_USER : 0) | (writable ? PTE_WRITABLE : 0) |
                                     (disabled ? PTE_XD : 0));
        struct vm_exit exit = l2_window_turn(L2_READ);
        tally_ept(&tally, number, &exit, l2_window_outcome(L2_READ, EPT_NOTHING, OWN_PML4E));
        tally_turn(&tally, number, exit.qualification & ADVANCED,
                   (user ? LINEAR_IS_USER : 0) | (writable ? LINEAR_IS_WRITABLE : 0) | (disabled ? LINEAR_IS_XD : 0));
    }
    write_msr(IA32_EFER, read_msr(IA32_EFER) & ~(u64)EFER_NXE); /* VM exits leave L2's in place */
    must_tally(&tally);
}
