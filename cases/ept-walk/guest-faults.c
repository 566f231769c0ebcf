/* W-29 and W-31: page faults of L2 and flags in its paging-structure entries, at each level, without EPT and with it.
   L1 gets the faults by the exception bitmap, mends the entry, and L2 goes on. A hypervisor below L1 walks L2's tables
   itself for INSB and OUTSB. */
#include "stage.h"

#include "vectors.h"

#define PAGE_FAULTS "Page-Fault Exceptions (Vol. 3, 4.7)"
#define GUEST_FLAGS "Accessed and Dirty Flags (Vol. 3, 4.8)"
#define RFLAGS_IOPL_3 (3u << 12)
enum { FLAGS = PTE_ACCESSED | PTE_DIRTY };

static const enum l2_access accesses[] = { L2_READ, L2_WRITE, L2_FETCH, L2_INS, L2_OUTS };

static bool writes(enum l2_access access)
{
    return access == L2_WRITE || access == L2_INS;
}

/* What a page fault with this error code looks like, as one number. */
static u64 fault(u32 error_code, u64 linear)
{
    return (u64)1 << 63 | (u64)error_code << 48 | (linear & 0xFFFFFFFFFFFF);
}

static u64 seen_in(const struct vm_exit *exit)
{
    if (exit->exception && exit->vector == VECTOR_PF)
        return fault(exit->error_code, exit->exception_cr2);
    return exit->reason;
}

/* The error code of a fault for an entry that holds this, or L2 passes: without NXE and SMEP a fetch is a read. `mode`
   is PF_USER or 0. */
static u64 outcome(enum l2_access access, u64 entry, u64 reserved, u32 mode)
{
    u32 error_code = (writes(access) ? PF_WRITE : 0) | mode;
    u64 linear = l2_window_linear(access);
    if (!(entry & PTE_PRESENT))
        return fault(error_code, linear);
    if (entry & reserved)
        return fault(PF_PRESENT | PF_RESERVED | error_code, linear);
    bool allowed = (entry & PTE_WRITABLE || !writes(access)) && (entry & PTE_USER || !mode);
    return allowed ? EXIT_VMCALL : fault(PF_PRESENT | error_code, linear);
}

/* The entry of each level, refused in each way, and then given back; CR0.WP is 1. */
static void each_fault(enum paging paging, u32 mode)
{
    struct tally tally = { 0 };
    u64 reserved = paging == PAGING_32_BIT ? 0 : (u64)1 << 51;
    const u64 flips[] = { 0, PTE_PRESENT, PTE_WRITABLE, PTE_USER, reserved };
    vmcs_write(EXCEPTION_BITMAP, 1 << VECTOR_PF);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
        u64 entry = l2_window_entry(level);
        for (u32 flip = 0; flip < ARRAY_SIZE(flips); flip++)
            for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
                l2_window_set(level, entry ^ flips[flip]);
                struct vm_exit exit = l2_window_turn(accesses[index]);
                tally_turn(&tally, turn_of(level << 4 | flip, accesses[index]), seen_in(&exit),
                           outcome(accesses[index], entry ^ flips[flip], reserved, mode));
            }
        l2_window_set(level, entry);
    }
    must_tally(&tally);
}

/* Code at CPL 3 that may do I/O, in pages that it may run in. */
static void user_with_io(void)
{
    for (u32 entry = 0; entry < EPT_SMALL_BYTES >> 21; entry++)
        l2_tables.pae.directories[0][entry] |= PTE_USER;
    l2_user_mode();
    vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | RFLAGS_IOPL_3);
}

/* The flags of all levels after one access to entries without any. */
static void each_flag(enum paging paging)
{
    struct tally tally = { 0 };
    for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
        enum l2_access access = accesses[index];
        for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++)
            l2_window_set(level, l2_window_entry(level) & ~(u64)FLAGS);
        struct vm_exit exit = l2_window_turn(access);
        tally_turn(&tally, turn_of(0, access), seen_in(&exit), EXIT_VMCALL);
        for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
            u32 dirty = level == LEVEL_PTE ? PTE_DIRTY : 0;
            tally_turn(&tally, turn_of(1 + level, access), l2_window_entry(level) & (PTE_ACCESSED | dirty),
                       PTE_ACCESSED | (writes(access) ? dirty : 0));
        }
    }
    must_tally(&tally);
}

#define FAULTS(ident, paging, id, words, change, cpl)                                                          \
    CHECK(faults_##ident, id, NEEDS_L2, PAGE_FAULTS,                                                           \
          "L2 " words " faults at absent, read-only, supervisor and reserved entries, by MOV, INSB and OUTSB") \
    {                                                                                                          \
        window_at(paging, 0);                                                                                  \
        change;                                                                                                \
        each_fault(paging, cpl);                                                                               \
    }
FAULTS(32_bit, PAGING_32_BIT, "W-29/faults/32-bit", "with 32-bit paging and without EPT", l2_without_ept(), 0)
FAULTS(pae, PAGING_PAE, "W-29/faults/PAE", "with PAE paging and without EPT", l2_without_ept(), 0)
FAULTS(4_level, PAGING_4_LEVEL, "W-29/faults/4-level", "with 4-level paging and without EPT", l2_without_ept(), 0)
FAULTS(user, PAGING_PAE, "W-29/faults/user", "at CPL 3 and without EPT", user_with_io(); l2_without_ept(), PF_USER)
FAULTS(ept_32_bit, PAGING_32_BIT, "W-31/faults/32-bit", "with 32-bit paging and with EPT", , 0)
FAULTS(ept_pae, PAGING_PAE, "W-31/faults/PAE", "with PAE paging and with EPT", , 0)
FAULTS(ept_4_level, PAGING_4_LEVEL, "W-31/faults/4-level", "with 4-level paging and with EPT", , 0)
FAULTS(ept_user, PAGING_PAE, "W-31/faults/user", "at CPL 3 and with EPT", user_with_io(), PF_USER)

#define FLAGS_SET(ident, paging, id, words, change)                                                            \
    CHECK(flags_##ident, id, NEEDS_L2, GUEST_FLAGS,                                                            \
          "L2 " words " sets accessed flags by MOV, a fetch, INSB and OUTSB, and a dirty flag by what writes") \
    {                                                                                                          \
        window_at(paging, 0);                                                                                  \
        change;                                                                                                \
        each_flag(paging);                                                                                     \
    }
FLAGS_SET(32_bit, PAGING_32_BIT, "W-29/accessed-dirty/32-bit", "with 32-bit paging and without EPT", l2_without_ept())
FLAGS_SET(pae, PAGING_PAE, "W-29/accessed-dirty/PAE", "with PAE paging and without EPT", l2_without_ept())
FLAGS_SET(4_level, PAGING_4_LEVEL, "W-29/accessed-dirty/4-level", "with 4-level paging and without EPT",
          l2_without_ept())
FLAGS_SET(ept_32_bit, PAGING_32_BIT, "W-31/accessed-dirty/32-bit", "with 32-bit paging and with EPT", )
FLAGS_SET(ept_pae, PAGING_PAE, "W-31/accessed-dirty/PAE", "with PAE paging and with EPT", )
FLAGS_SET(ept_4_level, PAGING_4_LEVEL, "W-31/accessed-dirty/4-level", "with 4-level paging and with EPT", )
