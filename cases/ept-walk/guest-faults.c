/* W-29 and W-31: page faults of L2, by entries of each level, without EPT and with it. L1 is told by the exception
   bitmap, mends the entry, and L2 goes on. A hypervisor below L1 walks L2's tables itself for INSB and OUTSB. */
#include "stage.h"

#include "vectors.h"

#define PAGE_FAULTS "Page-Fault Exceptions (Vol. 3, 4.7)"

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

/* The error code of a fault for an entry that holds this, or L2 passes: without NXE and SMEP a fetch is a read. */
static u64 outcome(enum l2_access access, u64 entry, u64 reserved)
{
    bool writes = access == L2_WRITE || access == L2_INS;
    u32 error_code = writes ? PF_WRITE : 0;
    u64 linear = l2_window_linear(access);
    if (!(entry & PTE_PRESENT))
        return fault(error_code, linear);
    if (entry & reserved)
        return fault(PF_PRESENT | PF_RESERVED | error_code, linear);
    return writes && !(entry & PTE_WRITABLE) ? fault(PF_PRESENT | PF_WRITE, linear) : EXIT_VMCALL;
}

static const enum l2_access accesses[] = { L2_READ, L2_WRITE, L2_FETCH, L2_INS, L2_OUTS };

/* The entry of each level, refused in each way, and then given back; CR0.WP is 1. */
static void each_fault(enum paging paging)
{
    struct tally tally = { 0 };
    u64 reserved = paging == PAGING_32_BIT ? 0 : (u64)1 << 51;
    const u64 flips[] = { 0, PTE_PRESENT, PTE_WRITABLE, reserved };
    vmcs_write(EXCEPTION_BITMAP, 1 << VECTOR_PF);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging); level++) {
        u64 entry = l2_window_entry(level);
        for (u32 flip = 0; flip < ARRAY_SIZE(flips); flip++)
            for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
                l2_window_set(level, entry ^ flips[flip]);
                struct vm_exit exit = l2_window_turn(accesses[index]);
                tally_turn(&tally, turn_of(level << 4 | flip, accesses[index]), seen_in(&exit),
                           outcome(accesses[index], entry ^ flips[flip], reserved));
            }
        l2_window_set(level, entry);
    }
    must_tally(&tally);
}

#define FAULTS(ident, paging, mode)                                                                                  \
    CHECK(without_##ident, "W-29/faults/" mode, NEEDS_L2, PAGE_FAULTS,                                               \
          "L2 with " mode " paging and without EPT faults at absent, read-only and reserved entries, by MOV, INSB "  \
          "and OUTSB")                                                                                               \
    {                                                                                                                \
        window_at(paging, 0);                                                                                        \
        l2_without_ept();                                                                                            \
        each_fault(paging);                                                                                          \
    }                                                                                                                \
    CHECK(with_##ident, "W-31/faults/" mode, NEEDS_L2, PAGE_FAULTS,                                                  \
          "L2 with " mode " paging and with EPT faults at absent, read-only and reserved entries, by MOV, INSB and " \
          "OUTSB")                                                                                                   \
    {                                                                                                                \
        window_at(paging, 0);                                                                                        \
        each_fault(paging);                                                                                          \
    }
FAULTS(32_bit, PAGING_32_BIT, "32-bit")
FAULTS(pae, PAGING_PAE, "PAE")
FAULTS(4_level, PAGING_4_LEVEL, "4-level")
