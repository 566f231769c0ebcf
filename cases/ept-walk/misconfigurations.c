/* W-09 and W-13 to W-16: EPT entries that hold what they must not, at each level, and what a CPU must ignore. */
#include "stage.h"

enum { LEVELS = EPT_PML4E + 1, IGNORED_LOW = 0xF00, IGNORE_PAT = 1 << 6, MEMORY_TYPES = 8 };
#define IGNORED_HIGH ((u64)0xFFF << 52)

/* Bits that must be 0 in an entry at each level: the physical-address bits that the CPU lacks, and besides. */
static u64 reserved_at(enum ept_level level)
{
    static const u32 low[LEVELS] = { 0, 0x78, 0x78, 0xF8 };
    return (((u64)1 << 52) - ((u64)1 << physical_address_bits())) | low[level];
}

/* The accesses take turns. */
static enum l2_access access_for(u32 turn)
{
    return turn % L2_MODIFY;
}

static void each_reserved_bit(enum ept_level level)
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (u32 bit = 0; bit < 64; bit++) {
        enum l2_access access = access_for(bit);
        if (!(reserved_at(level) >> bit & 1))
            continue;
        ept_edit(ept_entry(OWN_PML4E, level), reserved_at(level), (u64)1 << bit);
        u64 address = OWN_PML4E + l2_window_linear(access) % PAGE_SIZE;
        access_turn(&tally, turn_of(bit, access), access, ept_misconfiguration(address));
    }
    must_tally(&tally);
}

#define RESERVED(ident, level, id, words)                                                                         \
    CHECK(reserved_##ident, id, NEEDS_L2, EPT_MISCONFIGURATIONS "; " EPT_TRANSLATION,                             \
          "Each reserved bit of an EPT " words " causes an EPT misconfiguration that reports the guest-physical " \
          "address")                                                                                              \
    {                                                                                                             \
        each_reserved_bit(level);                                                                                 \
    }
RESERVED(pte, EPT_PTE, "W-14/pte", "PTE (address bits that the CPU lacks)")
RESERVED(pde, EPT_PDE, "W-13/pde", "PDE that refers to a page table")
RESERVED(pdpte, EPT_PDPTE, "W-13/pdpte", "PDPTE that refers to a page directory")
RESERVED(pml4e, EPT_PML4E, "W-13/pml4e", "PML4E")

CHECK(ignored, "W-14/ignored", NEEDS_L2, EPT_TRANSLATION,
      "A CPU reads nothing out of bits 63:52 and 11:8 of EPT entries, nor out of bit 7 of an EPT PTE, and leaves them")
{
    struct tally tally = { 0 };
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++) {
        u64 bits = IGNORED_HIGH | IGNORED_LOW | (level == EPT_PTE ? EPT_LARGE : 0);
        window_at(PAGING_PAE, OWN_PML4E);
        u64 plain = *ept_entry(OWN_PML4E, level);
        for (u32 bit = 0; bit < 64; bit += bit == 11 ? 41 : 1) {
            if (!(bits >> bit & 1))
                continue;
            ept_edit(ept_entry(OWN_PML4E, level), bits, (u64)1 << bit);
            access_turn(&tally, turn_of(bit << 4 | level, access_for(bit)), access_for(bit), ept_passes());
            tally_turn(&tally, turn_of(bit << 4 | level, L2_ACCESSES), *ept_entry(OWN_PML4E, level),
                       plain | (u64)1 << bit);
        }
    }
    must_tally(&tally);
}

CHECK(memory_types, "W-15/pte", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EPT_MEMORY_TYPES,
      "An EPT PTE with memory type 2, 3 or 7 is misconfigured, with 0, 1, 4, 5 or 6 it is not, whatever bit 6 is")
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (u32 bits = 0; bits < 2 * MEMORY_TYPES; bits++) {
        u32 type = bits % MEMORY_TYPES;
        enum l2_access access = access_for(bits);
        bool reserved = type == 2 || type == 3 || type == 7;
        u64 address = OWN_PML4E + l2_window_linear(access) % PAGE_SIZE;
        ept_edit(ept_entry(OWN_PML4E, EPT_PTE), EPT_MEMORY_TYPE(7) | IGNORE_PAT, bits << 3);
        access_turn(&tally, turn_of(bits, access), access, reserved ? ept_misconfiguration(address) : ept_passes());
    }
    must_tally(&tally);
}

/* Two entries of one walk. */
struct pair {
    u32 upper, lower; /* rights, and for a misconfiguration 010b */
    enum l2_access access;
    bool misconfigured;
    u32 allowed; /* of the violation otherwise */
};

CHECK(priority, "W-09/two-levels", NEEDS_L2, EPT_PRIORITY,
      "An EPT entry that is not present causes an EPT violation before a lower one is read, lacking rights do so after "
      "that")
{
    static const struct pair pairs[] = {
        { EPT_NOTHING, EPT_WRITE, L2_READ, false, EPT_NOTHING },
        { EPT_READ, EPT_WRITE, L2_WRITE, true, 0 },
        { EPT_READ, EPT_WRITE, L2_FETCH, true, 0 },
        { EPT_WRITE, EPT_NOTHING, L2_READ, true, 0 },
        { EPT_WRITE, EPT_ALL, L2_READ, true, 0 },
        { EPT_READ, EPT_NOTHING, L2_WRITE, false, EPT_NOTHING },
    };
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (enum ept_level upper = EPT_PDE; upper <= EPT_PML4E; upper++) {
        for (u32 index = 0; index < ARRAY_SIZE(pairs); index++) {
            const struct pair *pair = &pairs[index];
            u64 linear = l2_window_linear(pair->access), address = OWN_PML4E + linear % PAGE_SIZE;
            ept_edit(ept_entry(OWN_PML4E, upper), EPT_ALL, pair->upper);
            ept_edit(ept_entry(OWN_PML4E, upper - 1), EPT_ALL, pair->lower);
            access_turn(&tally, turn_of(upper << 4 | index, pair->access), pair->access,
                        pair->misconfigured ? ept_misconfiguration(address)
                                            : violation_of_page(1u << pair->access, pair->allowed, address, linear));
        }
        ept_edit(ept_entry(OWN_PML4E, upper), 0, EPT_ALL);
        ept_edit(ept_entry(OWN_PML4E, upper - 1), 0, EPT_ALL);
    }
    must_tally(&tally);
}

CHECK(not_present, "W-09/not-present", NEEDS_L2, EPT_VIOLATIONS "; " EPT_MISCONFIGURATIONS,
      "An EPT entry whose bits 2:0 are 0 causes an EPT violation, whatever its other bits are, at each level")
{
    struct tally tally = { 0 };
    window_at(PAGING_PAE, OWN_PML4E);
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++) {
        u64 plain = *ept_entry(OWN_PML4E, level);
        ept_edit(ept_entry(OWN_PML4E, level), ~(u64)0, ~(u64)EPT_ALL);
        access_turn(&tally, turn_of(level, L2_READ), L2_READ, l2_window_outcome(L2_READ, EPT_NOTHING, OWN_PML4E));
        ept_edit(ept_entry(OWN_PML4E, level), ~(u64)0, plain);
    }
    must_tally(&tally);
}

/* Provoke a violation of a walk that a hypervisor below L1 may have handled alone: a stale exit qualification is not 0
   then. */
static void misconfigured(const void *page, enum l2_access access, u64 address)
{
    ept_protect(page, EPT_WRITE);
    access_must(access, ept_misconfiguration(address));
}

CHECK(data, "W-16/data", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EXIT_INFORMATION,
      "A write to a page that is misconfigured in EPT exits with exit qualification 0 and the guest-physical address")
{
    window_at(PAGING_PAE, 0);
    misconfigured(l2_window_page, L2_WRITE, address_of(l2_window_page) + l2_window_linear(L2_WRITE) % PAGE_SIZE);
}

CHECK(fetched, "W-16/fetch", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EXIT_INFORMATION,
      "A fetch from a page that is misconfigured in EPT exits with exit qualification 0 and the guest-physical address")
{
    window_at(PAGING_PAE, 0);
    misconfigured(l2_window_page, L2_FETCH, address_of(l2_window_page));
}

CHECK(walked, "W-16/walk", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EXIT_INFORMATION,
      "A walk through a page table that is misconfigured in EPT exits with exit qualification 0 and the address of the "
      "PTE")
{
    window_at(PAGING_PAE, 0);
    misconfigured(l2_window_table(LEVEL_PTE), L2_READ, l2_window_slot(LEVEL_PTE));
}
