/* W-01 to W-06: EPT violations of the pages that L2's paging-structure entries lie in. */
#include "stage.h"

static const enum paging pagings[] = { PAGING_32_BIT, PAGING_PAE, PAGING_4_LEVEL };

/* With all flags set in the guest's entries and none in EPT a walk only reads. */
static void each_right_of_tables(enum paging paging)
{
    struct tally tally = { 0 };
    need_execute_only();
    window_at(paging, 0);
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
        for (u32 rights = 0; rights < RIGHTS; rights++) {
            ept_edit(ept_leaf(l2_window_table(level)), EPT_ALL, rights);
            for (enum l2_access access = L2_READ; access < L2_MODIFY; access++)
                access_turn(&tally, turn_of(level << 4 | rights, access), access,
                            l2_walk_outcome(access, rights, level));
        }
        ept_edit(ept_leaf(l2_window_table(level)), 0, EPT_ALL);
    }
    must_tally(&tally);
}

#define EACH_TABLE(ident, id, paging, words)                                                                           \
    CHECK(ident, id, NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,                                           \
          "A walk of " words " needs read permission in EPT for the page of each entry, and an EPT violation reports " \
          "the entry")                                                                                                 \
    {                                                                                                                  \
        each_right_of_tables(paging);                                                                                  \
    }
EACH_TABLE(tables_32_bit, "W-02/32-bit", PAGING_32_BIT, "32-bit paging")
EACH_TABLE(tables_pae, "W-02/pae", PAGING_PAE, "PAE paging")
EACH_TABLE(tables_4_level, "W-02/4-level", PAGING_4_LEVEL, "4-level paging")

CHECK(pde_absent, "W-01/pae", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "A read through a PAE page directory that EPT lacks causes an EPT violation at the PDE, with bit 7 set and bit 8 "
      "clear")
{
    window_at(PAGING_PAE, 0);
    ept_protect(l2_window_table(LEVEL_PDE), EPT_NOTHING);
    access_must(L2_READ, l2_walk_outcome(L2_READ, EPT_NOTHING, LEVEL_PDE));
}

CHECK(pdpt_absent, "W-01/pdpt", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "A walk of PAE paging does not access the PDPTEs in memory, whose page EPT lacks")
{
    window_at(PAGING_PAE, 0);
    ept_protect(l2_tables.pae.pdpt, EPT_NOTHING);
    access_must(L2_WRITE, ept_passes());
}

CHECK(pte_read_only, "W-04/read-only", NEEDS_L2, EPT_VIOLATIONS,
      "A write through a page table that is read-only in EPT succeeds when accessed and dirty flags are set in the PTE")
{
    window_at(PAGING_PAE, 0);
    ept_protect(l2_window_table(LEVEL_PTE), EPT_READ);
    access_must(L2_WRITE, ept_passes());
}

CHECK(pte_execute_only, "W-06/execute-only", NEEDS_L2, EPT_VIOLATIONS,
      "A fetch through a page table that is execute-only in EPT causes an EPT violation of a read")
{
    need_execute_only();
    window_at(PAGING_PAE, 0);
    ept_protect(l2_window_table(LEVEL_PTE), EPT_EXECUTE);
    access_must(L2_FETCH, l2_walk_outcome(L2_FETCH, EPT_EXECUTE, LEVEL_PTE));
}

/* The SDM names a write; whether the read of the same update counts, too, it does not say. */
static struct ept_exit update_refused(enum l2_access access, enum level level)
{
    struct ept_exit outcome =
        violation_of_entry(VIOLATION_WRITE, EPT_READ, l2_window_slot(level), l2_window_linear(access));
    outcome.undefined = VIOLATION_READ;
    return outcome;
}

/* A walk that must set a flag writes. The entry stays as it is then. */
static void each_update(enum paging paging)
{
    struct tally tally = { 0 };
    window_at(paging, 0);
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
        u64 entry = l2_window_entry(level);
        ept_protect(l2_window_table(level), EPT_READ);
        l2_window_set(level, entry & ~(u64)PTE_ACCESSED);
        for (enum l2_access access = L2_READ; access < L2_MODIFY; access++) {
            access_turn(&tally, turn_of(level, access), access, update_refused(access, level));
            tally_turn(&tally, turn_of(0x10 | level, access), l2_window_entry(level), entry & ~(u64)PTE_ACCESSED);
        }
        if (level == LEVEL_PTE) {
            l2_window_set(level, entry & ~(u64)PTE_DIRTY);
            access_turn(&tally, turn_of(0x20, L2_READ), L2_READ, ept_passes());
            access_turn(&tally, turn_of(0x20, L2_WRITE), L2_WRITE, update_refused(L2_WRITE, level));
        }
        l2_window_set(level, entry);
        ept_protect(l2_window_table(level), EPT_ALL);
    }
    must_tally(&tally);
}

#define EACH_UPDATE(ident, id, paging, words)                                                                         \
    CHECK(ident, id, NEEDS_L2, EPT_VIOLATIONS "; Accessed and Dirty Flags (Vol. 3, 4.8)",                             \
          "A walk of " words " that must set a flag in a page that is read-only in EPT causes an EPT violation of a " \
          "write")                                                                                                    \
    {                                                                                                                 \
        each_update(paging);                                                                                          \
    }
EACH_UPDATE(update_32_bit, "W-03/32-bit", PAGING_32_BIT, "32-bit paging")
EACH_UPDATE(update_pae, "W-03/pae", PAGING_PAE, "PAE paging")
EACH_UPDATE(update_4_level, "W-03/4-level", PAGING_4_LEVEL, "4-level paging")

CHECK(update_done, "W-03/writable", NEEDS_L2, "Accessed and Dirty Flags (Vol. 3, 4.8)",
      "Control: a write through entries whose accessed and dirty flags are clear sets them when EPT allows writes")
{
    struct tally tally = { 0 };
    for (u32 mode = 0; mode < ARRAY_SIZE(pagings); mode++) {
        window_at(pagings[mode], 0);
        for (enum level level = LEVEL_PTE; level <= l2_window_top(pagings[mode]); level++)
            l2_window_set(level, l2_window_entry(level) & ~(u64)(PTE_ACCESSED | PTE_DIRTY));
        access_turn(&tally, turn_of(mode, L2_WRITE), L2_WRITE, ept_passes());
        for (enum level level = LEVEL_PTE; level <= l2_window_top(pagings[mode]); level++)
            tally_turn(&tally, turn_of(mode, L2_ACCESSES + level),
                       l2_window_entry(level) & (PTE_ACCESSED | (level == LEVEL_PTE ? PTE_DIRTY : 0)),
                       PTE_ACCESSED | (level == LEVEL_PTE ? PTE_DIRTY : 0));
    }
    must_tally(&tally);
}

/* With accessed and dirty flags on for EPT each access to a guest's entry is a write. */
static void each_table_tracked(enum paging paging)
{
    static const u32 insufficient[] = { EPT_NOTHING, EPT_READ, EPT_READ | EPT_EXECUTE };
    struct tally tally = { 0 };
    window_at(paging, 0);
    ept_track();
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
        for (u32 index = 0; index < ARRAY_SIZE(insufficient); index++) {
            u32 rights = insufficient[index];
            ept_protect(l2_window_table(level), rights);
            for (enum l2_access access = L2_READ; access < L2_MODIFY; access++)
                access_turn(&tally, turn_of(level << 4 | rights, access), access,
                            violation_of_entry(VIOLATION_READ | VIOLATION_WRITE, rights, l2_window_slot(level),
                                               l2_window_linear(access)));
        }
        ept_protect(l2_window_table(level), EPT_ALL);
    }
    must_tally(&tally);
}

#define TRACKED(ident, id, paging, words)                                                                             \
    CHECK(ident, id, NEEDS_L2, EXIT_QUALIFICATION_TABLE ", footnote on bits 1:0; " EPT_VIOLATIONS,                    \
          "With flags on for EPT a walk of " words " writes to the page of each entry, and an EPT violation reports " \
          "read and write")                                                                                           \
    {                                                                                                                 \
        each_table_tracked(paging);                                                                                   \
    }
TRACKED(tracked_32_bit, "W-05/32-bit", PAGING_32_BIT, "32-bit paging")
TRACKED(tracked_pae, "W-05/pae", PAGING_PAE, "PAE paging")
TRACKED(tracked_4_level, "W-05/4-level", PAGING_4_LEVEL, "4-level paging")

/* The page table at a guest-physical address with EPT entries of its own at each level. */
CHECK(walk_levels, "W-02/each-ept-level", NEEDS_L2, EPT_VIOLATIONS "; " EPT_TRANSLATION,
      "A walk reads the PTE by the rights of all levels of EPT that map the page table")
{
    struct tally tally = { 0 };
    need_execute_only();
    window_at(PAGING_PAE, 0);
    u64 alias = OWN_PML4E | (l2_window_slot(LEVEL_PTE) & (PAGE_SIZE - 1));
    ept_map(OWN_PML4E, l2_window_table(LEVEL_PTE), EPT_ALL);
    l2_window_set(LEVEL_PDE, OWN_PML4E | (l2_window_entry(LEVEL_PDE) & (PAGE_SIZE - 1)));
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++) {
        for (u32 rights = 0; rights < RIGHTS; rights++) {
            struct ept_exit outcome = l2_walk_outcome(L2_READ, rights, LEVEL_PTE);
            outcome.guest_physical = outcome.guest_physical ? alias : 0;
            ept_edit(ept_entry(OWN_PML4E, level), EPT_ALL, rights);
            access_turn(&tally, turn_of(level << 4 | rights, L2_READ), L2_READ, outcome);
        }
        ept_edit(ept_entry(OWN_PML4E, level), 0, EPT_ALL);
    }
    must_tally(&tally);
}

/* The page of the highest level translates code, too: it is the first fetch that a walk fails for. */
static void each_root(enum paging paging, const void *root, u32 entry_shift, u32 entry_bytes)
{
    static const u32 refused[] = { EPT_NOTHING, EPT_EXECUTE };
    struct tally tally = { 0 };
    need_execute_only();
    window_at(paging, 0);
    access_turn(&tally, turn_of(0x10, L2_READ), L2_READ, ept_passes());
    for (u32 index = 0; index < ARRAY_SIZE(refused); index++) {
        ept_protect(root, refused[index]);
        struct vm_exit exit = l2_window_access(L2_READ);
        exit.guest_linear_address &= ~(u64)(PAGE_SIZE - 1); /* in what pieces code is fetched the SDM does not say */
        u64 code = exit.rip & ~(u64)(PAGE_SIZE - 1);
        tally_ept(&tally, turn_of(index, L2_READ), &exit,
                  violation_of_entry(VIOLATION_READ, refused[index],
                                     address_of(root) + (u32)(code >> entry_shift) * entry_bytes, code));
        ept_protect(root, EPT_ALL);
    }
    ept_protect(root, EPT_READ);
    access_turn(&tally, turn_of(0x11, L2_READ), L2_READ, ept_passes());
    must_tally(&tally);
}

#define EACH_ROOT(ident, id, paging, root, shift, bytes, words)                                                        \
    CHECK(ident, id, NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,                                           \
          "A walk needs read permission in EPT for the page of the " words ", and an EPT violation reports the entry") \
    {                                                                                                                  \
        each_root(paging, root, shift, bytes);                                                                         \
    }
EACH_ROOT(root_32_bit, "W-02/page-directory", PAGING_32_BIT, l2_tables.directory, 22, 4, "page directory")
EACH_ROOT(root_4_level, "W-02/pml4-table", PAGING_4_LEVEL, l2_tables.pml4, 39, 8, "PML4 table")
