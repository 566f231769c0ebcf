/* W-11, W-12 and what other rows say of large pages: the window in a 2 MiB or a 1 GiB page of EPT. */
#include "stage.h"

static const struct large {
    enum ept_level level;
    u64 bytes, capability;
    const char *absent;
} two_mib = { EPT_PDE, (u64)2 << 20, EPT_CAPABILITY_2_MIB, "no 2 MiB pages in EPT" },
  one_gib = { EPT_PDPTE, (u64)1 << 30, EPT_CAPABILITY_1_GIB, "no 1 GiB pages in EPT" };

static u64 *entry_of(const struct large *large)
{
    return ept_entry(OWN_PML4E, large->level);
}

/* The page's guest-physical address; `absent` decides whether the CPU must have such pages. */
static u64 prepare(const struct large *large)
{
    u64 inside = address_of(l2_window_page) & (large->bytes - 1);
    l2_prepare(NULL);
    l2_window_use(PAGING_PAE);
    l2_window_point(OWN_PML4E + inside);
    ept_edit(entry_of(large), ~(u64)0, (address_of(l2_window_page) - inside) | EPT_LARGE | EPT_WRITE_BACK | EPT_ALL);
    return OWN_PML4E + inside;
}

static u64 window_in(const struct large *large)
{
    if (!(ept_capabilities() & large->capability))
        skip(large->absent);
    return prepare(large);
}

static void each_right(const struct large *large)
{
    struct tally tally = { 0 };
    need_execute_only();
    u64 base = window_in(large);
    for (u32 rights = 0; rights < RIGHTS; rights++) {
        ept_edit(entry_of(large), EPT_ALL, rights);
        for (enum l2_access access = L2_READ; access < L2_MODIFY; access++)
            access_turn(&tally, turn_of(rights, access), access, l2_window_outcome(access, rights, base));
    }
    must_tally(&tally);
}

static void reserved_bits(const struct large *large, u64 bits)
{
    struct tally tally = { 0 };
    u64 base = window_in(large);
    for (u32 bit = 0; bit < 64; bit++) {
        if (!(bits >> bit & 1))
            continue;
        ept_edit(entry_of(large), bits, (u64)1 << bit);
        access_turn(&tally, turn_of(bit, L2_READ), L2_READ,
                    ept_misconfiguration(base + l2_window_linear(L2_READ) % PAGE_SIZE));
    }
    must_tally(&tally);
}

static void memory_types(const struct large *large)
{
    struct tally tally = { 0 };
    u64 base = window_in(large);
    for (u32 type = 0; type < 8; type++) {
        bool reserved = type == 2 || type == 3 || type == 7;
        ept_edit(entry_of(large), EPT_MEMORY_TYPE(7), EPT_MEMORY_TYPE(type));
        access_turn(&tally, turn_of(type, L2_READ), L2_READ,
                    reserved ? ept_misconfiguration(base + l2_window_linear(L2_READ) % PAGE_SIZE) : ept_passes());
    }
    must_tally(&tally);
}

/* The address bits that lie inside the page, without the lowest one, and those that the CPU lacks. */
static u64 reserved_in(const struct large *large)
{
    return (large->bytes - 2 * PAGE_SIZE) | (((u64)1 << 52) - ((u64)1 << physical_address_bits()));
}

#define LARGE_PAGE(large, row, words)                                                                                 \
    CHECK(large##_rights, row "/rights", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,                      \
          "Each combination of rights of a " words " page in EPT decides on a read, a write and a fetch, and an EPT " \
          "violation reports it")                                                                                     \
    {                                                                                                                 \
        each_right(&large);                                                                                           \
    }                                                                                                                 \
    CHECK(large##_bit_12, row "/bit-12", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EPT_TRANSLATION,                        \
          "Bit 12 of an EPT entry that maps a " words " page causes an EPT misconfiguration")                         \
    {                                                                                                                 \
        reserved_bits(&large, PAGE_SIZE);                                                                             \
    }                                                                                                                 \
    CHECK(large##_reserved, row "/reserved-bits", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EPT_TRANSLATION,               \
          "Each reserved bit above bit 12 of an EPT entry that maps a " words " page causes an EPT misconfiguration") \
    {                                                                                                                 \
        reserved_bits(&large, reserved_in(&large));                                                                   \
    }                                                                                                                 \
    CHECK(large##_types, row "/memory-types", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EPT_MEMORY_TYPES,                  \
          "An EPT entry that maps a " words " page is misconfigured with memory type 2, 3 or 7 and with no other")    \
    {                                                                                                                 \
        memory_types(&large);                                                                                         \
    }
LARGE_PAGE(two_mib, "W-11", "2 MiB")
LARGE_PAGE(one_gib, "W-12", "1 GiB")

CHECK(no_one_gib, "W-12/absent", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "An EPT PDPTE with bit 7 set is misconfigured when the CPU has no 1 GiB pages in EPT")
{
    if (ept_capabilities() & EPT_CAPABILITY_1_GIB)
        skip("1 GiB pages in EPT are supported");
    u64 base = prepare(&one_gib);
    access_must(L2_READ, ept_misconfiguration(base + l2_window_linear(L2_READ) % PAGE_SIZE));
}

/* The entries of all levels after one access: accessed flags in those that were used, a dirty flag in the one of the
   page. */
static void flags_after_each_access(const struct large *large)
{
    static const enum l2_access accesses[] = { L2_READ, L2_FETCH, L2_WRITE, L2_MODIFY };
    struct tally tally = { 0 };
    window_in(large);
    ept_track();
    for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
        enum l2_access access = accesses[index];
        u32 dirty = access == L2_WRITE || access == L2_MODIFY ? EPT_DIRTY : 0;
        for (enum ept_level level = large->level; level <= EPT_PML4E; level++)
            ept_edit(ept_entry(OWN_PML4E, level), EPT_ACCESSED | EPT_DIRTY, 0);
        access_turn(&tally, turn_of(0, access), access, ept_passes());
        for (enum ept_level level = large->level; level <= EPT_PML4E; level++)
            tally_turn(&tally, turn_of(1 + level, access),
                       *ept_entry(OWN_PML4E, level) & (EPT_ACCESSED | EPT_DIRTY),
                       EPT_ACCESSED | (level == large->level ? dirty : 0));
    }
    must_tally(&tally);
}

CHECK(two_mib_flags, "W-17/2-mib", NEEDS_L2, EPT_FLAGS,
      "Each access through a 2 MiB page of EPT sets the accessed flags, and a write the dirty flag of the PDE")
{
    flags_after_each_access(&two_mib);
}

CHECK(one_gib_flags, "W-17/1-gib", NEEDS_L2, EPT_FLAGS,
      "Each access through a 1 GiB page of EPT sets the accessed flags, and a write the dirty flag of the PDPTE")
{
    flags_after_each_access(&one_gib);
}
