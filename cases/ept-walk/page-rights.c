/* W-06 to W-10: the rights that EPT entries give to a page, at one level and at two, against each kind of access. */
#include "stage.h"

static void each_right_at(enum paging paging, u64 base, enum ept_level level)
{
    struct tally tally = { 0 };
    need_execute_only();
    window_at(paging, base);
    for (u32 rights = 0; rights < RIGHTS; rights++) {
        ept_edit(ept_entry(base, level), EPT_ALL, rights);
        for (EACH_ACCESS(access))
            access_turn(&tally, turn_of(rights, access), access, l2_window_outcome(access, rights, base));
    }
    must_tally(&tally);
}

#define EACH_RIGHT(ident, id, words, paging, base, level)                                                        \
    CHECK(ident, id, NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,                                     \
          "Each combination of rights in an EPT " words " decides on each kind of access, and an EPT violation " \
          "reports it")                                                                                          \
    {                                                                                                            \
        each_right_at(paging, base, level);                                                                      \
    }
EACH_RIGHT(pte, "W-07/pte/pae", "PTE with PAE paging", PAGING_PAE, OWN_PML4E, EPT_PTE)
EACH_RIGHT(pde, "W-07/pde/pae", "PDE with PAE paging", PAGING_PAE, OWN_PML4E, EPT_PDE)
EACH_RIGHT(pdpte, "W-07/pdpte/pae", "PDPTE with PAE paging", PAGING_PAE, OWN_PML4E, EPT_PDPTE)
EACH_RIGHT(pml4e, "W-07/pml4e/pae", "PML4E with PAE paging", PAGING_PAE, OWN_PML4E, EPT_PML4E)
EACH_RIGHT(pte_32_bit, "W-07/pte/32-bit", "PTE with 32-bit paging", PAGING_32_BIT, OWN_PDPTE, EPT_PTE)
EACH_RIGHT(pte_4_level, "W-07/pte/4-level", "PTE with 4-level paging", PAGING_4_LEVEL, OWN_PML4E, EPT_PTE)

/* Two levels with valid rights each: what both allow is allowed, and reported. */
static void rights_of_two(enum ept_level upper, enum ept_level lower)
{
    struct tally tally = { 0 };
    need_execute_only();
    window_at(PAGING_PAE, OWN_PML4E);
    for (u32 above = 1; above < RIGHTS; above++)
        for (u32 below = 1; below < RIGHTS; below++) {
            if (!valid_rights(above) || !valid_rights(below))
                continue;
            ept_edit(ept_entry(OWN_PML4E, upper), EPT_ALL, above);
            ept_edit(ept_entry(OWN_PML4E, lower), EPT_ALL, below);
            for (enum l2_access access = L2_READ; access < L2_MODIFY; access++)
                access_turn(&tally, turn_of(above << 4 | below, access), access,
                            l2_window_outcome(access, above & below, OWN_PML4E));
        }
    must_tally(&tally);
}

CHECK(pde_and_pte, "W-08/pde-pte", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "Rights that an EPT PDE and PTE both give decide on an access, and an EPT violation reports them")
{
    rights_of_two(EPT_PDE, EPT_PTE);
}

CHECK(pml4e_and_pdpte, "W-08/pml4e-pdpte", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "Rights that an EPT PML4E and PDPTE both give decide on an access, and an EPT violation reports them")
{
    rights_of_two(EPT_PML4E, EPT_PDPTE);
}

CHECK(x_only_absent, "W-10/absent", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "An EPT PTE that allows fetches alone (100b) is misconfigured when the CPU has no execute-only entries")
{
    if (ept_capabilities() & EPT_CAPABILITY_EXECUTE_ONLY)
        skip("execute-only EPT entries are supported");
    window_at(PAGING_PAE, OWN_PDPTE);
    ept_protect_at(OWN_PDPTE, EPT_EXECUTE);
    access_must(L2_FETCH, ept_misconfiguration(OWN_PDPTE));
}

CHECK(x_only_code, "W-10/code", NEEDS_L2, EPT_VIOLATIONS,
      "Code runs in a page that is execute-only in EPT (100b), and its read of itself causes an EPT violation")
{
    need_execute_only();
    window_at(PAGING_PAE, OWN_PDPTE);
    ept_protect_at(OWN_PDPTE, EPT_EXECUTE);
    struct vm_exit fetch = l2_window_access(L2_FETCH);
    must("fetch_exit_reason", fetch.reason, EXIT_VMCALL);
    access_must(L2_READ, l2_window_outcome(L2_READ, EPT_EXECUTE, OWN_PDPTE));
}
