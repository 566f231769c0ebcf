/* W-17: accessed and dirty flags for EPT, at all four levels. */
#include "stage.h"

enum { FLAGS = EPT_ACCESSED | EPT_DIRTY };

static void clear_flags(u64 guest_physical)
{
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++)
        ept_edit(ept_entry(guest_physical, level), FLAGS, 0);
}

/* Accessed at all levels, and dirty as said in the PTE alone. */
static void tally_flags(struct tally *tally, u64 turn, u64 guest_physical, u32 dirty)
{
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++)
        tally_turn(tally, turn << 4 | level, *ept_entry(guest_physical, level) & FLAGS,
                   EPT_ACCESSED | (level == EPT_PTE ? dirty : 0));
}

static u32 dirty_after(enum l2_access access)
{
    return access == L2_WRITE || access == L2_MODIFY ? EPT_DIRTY : 0;
}

static void each_access(enum paging paging, u64 base)
{
    struct tally tally = { 0 };
    window_at(paging, base);
    ept_track();
    for (EACH_ACCESS(access)) {
        clear_flags(base);
        access_turn(&tally, turn_of(0, access), access, ept_passes());
        tally_flags(&tally, turn_of(1, access), base, dirty_after(access));
    }
    must_tally(&tally);
}

CHECK(flags_pae, "W-17/pae", NEEDS_L2, EPT_FLAGS,
      "Each access sets the accessed flags of all four EPT entries, and a write or an ADD the dirty flag of the PTE, "
      "with PAE paging")
{
    each_access(PAGING_PAE, OWN_PML4E);
}

CHECK(flags_4_level, "W-17/4-level", NEEDS_L2, EPT_FLAGS,
      "Each access sets the accessed flags of all four EPT entries, and a write or an ADD the dirty flag of the PTE, "
      "with 4-level paging")
{
    each_access(PAGING_4_LEVEL, OWN_PML4E);
}

CHECK(sticky, "W-17/sticky", NEEDS_L2, EPT_FLAGS,
      "A write after a read sets the dirty flag of an EPT PTE without INVEPT, and reads and fetches clear no flag")
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    ept_track();
    clear_flags(OWN_PML4E);
    static const enum l2_access accesses[] = { L2_READ, L2_FETCH, L2_WRITE, L2_READ, L2_FETCH };
    u32 dirty = 0;
    for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
        dirty |= dirty_after(accesses[index]);
        access_turn(&tally, turn_of(index, accesses[index]), accesses[index], ept_passes());
        tally_flags(&tally, turn_of(0x10 | index, accesses[index]), OWN_PML4E, dirty);
    }
    must_tally(&tally);
}

CHECK(off, "W-17/off", NEEDS_L2, EPT_FLAGS, "No access sets a flag in an EPT entry when bit 6 of EPTP is 0")
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (EACH_ACCESS(access)) {
        access_turn(&tally, turn_of(0, access), access, ept_passes());
        for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++)
            tally_turn(&tally, turn_of(1 + level, access), *ept_entry(OWN_PML4E, level) & FLAGS, 0);
    }
    must_tally(&tally);
}

CHECK(refused_write, "W-17/refused", NEEDS_L2, EPT_FLAGS "; " EPT_VIOLATIONS,
      "A write that causes an EPT violation sets no dirty flag")
{
    window_at(PAGING_PAE, OWN_PML4E);
    ept_track();
    clear_flags(OWN_PML4E);
    ept_protect_at(OWN_PML4E, EPT_READ);
    access_must(L2_WRITE, l2_window_outcome(L2_WRITE, EPT_READ, OWN_PML4E));
    must("dirty_pte", *ept_entry(OWN_PML4E, EPT_PTE) & EPT_DIRTY, 0);
}

/* With the flags on a walk writes to the pages of the guest's entries. */
CHECK(tables, "W-17/tables", NEEDS_L2, EPT_FLAGS,
      "A read sets accessed and dirty flags in the EPT PTEs of the pages that hold the guest's paging-structure "
      "entries")
{
    struct tally tally = { 0 };
    window_at(PAGING_4_LEVEL, 0);
    ept_track();
    for (enum level level = LEVEL_PTE; level <= LEVEL_PDPTE; level++)
        ept_edit(ept_leaf(l2_window_table(level)), FLAGS, 0);
    access_turn(&tally, turn_of(0, L2_READ), L2_READ, ept_passes());
    for (enum level level = LEVEL_PTE; level <= LEVEL_PDPTE; level++)
        tally_turn(&tally, turn_of(1 + level, L2_READ), *ept_leaf(l2_window_table(level)) & FLAGS, FLAGS);
    must_tally(&tally);
}

/* One set of tables, first with an EPTP without the flags, then with one that has them, and back. */
CHECK(switched, "W-17/switched", NEEDS_L2, EPT_FLAGS,
      "Accesses set flags in EPT entries once bit 6 of EPTP is 1, also in entries used before while it was 0")
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (EACH_ACCESS(access)) {
        vmcs_write64(EPT_POINTER, ept_pointer() & ~(u64)0x40);
        clear_flags(OWN_PML4E);
        access_turn(&tally, turn_of(0, access), access, ept_passes());
        tally_turn(&tally, turn_of(1, access), *ept_entry(OWN_PML4E, EPT_PTE) & FLAGS, 0);
        ept_track(); /* another EPTP: what the CPU has cached of the first does not serve it */
        access_turn(&tally, turn_of(2, access), access, ept_passes());
        tally_flags(&tally, turn_of(3, access), OWN_PML4E, dirty_after(access));
    }
    must_tally(&tally);
}
