/* W-30: memory operands of VMX instructions in L1, in each paging mode of L1. A hypervisor below L1 executes these
   instructions, and walks L1's paging structures for them. */
#include "stage.h"

#include "feature.h"
#include "vectors.h"

#define ACCESS_RIGHTS "Access Rights (Vol. 3, 4.6)"
#define PAGE_FAULTS "Page-Fault Exceptions (Vol. 3, 4.7)"
enum { SUPERVISOR_PAGE = PTE_WRITABLE | PTE_PRESENT, USER_PAGE = PTE_USER | SUPERVISOR_PAGE };

static const enum access accesses[] = { ACCESS_VMPTRST, ACCESS_VMREAD, ACCESS_INVEPT };

static void enter(enum paging paging, u64 rights)
{
    vmx_suspend();
    window_enter(paging, rights);
    vmx_use_64_bit_code(paging == PAGING_4_LEVEL);
    vmx_resume();
}

static void leave(void)
{
    vmx_suspend();
    vmx_use_64_bit_code(false);
    window_leave();
    vmx_resume();
}

static bool writes(enum access access)
{
    return access != ACCESS_INVEPT;
}

/* No exception is 0, a page fault at the window its error code above bit 16; others have their vector alone. */
#define FAULT(error_code) ((u32)(error_code) << 16 | VECTOR_PF)

static u32 outcome(struct trap trap)
{
    if (!trap.taken)
        return 0;
    bool there = trap.vector == VECTOR_PF && trap.cr2 >> 12 == window_address() >> 12;
    return there ? FAULT(trap.error_code) : trap.vector;
}

/* What one flip in the entry of any level comes to, for an operand that is read and for one that is written. */
struct rule {
    u64 rights, flip;
    u32 read, write;
};

static void each_level(enum paging paging, const struct rule *rule, u32 cr0)
{
    struct tally tally = { 0 };
    enter(paging, rule->rights);
    write_cr0(read_cr0() | cr0);
    for (enum level level = LEVEL_PTE; level < window_levels(paging); level++)
        for (u32 index = 0; index < ARRAY_SIZE(accesses); index++) {
            window_rights(rule->rights);
            window_flush();
            tally_turn(&tally, level << 8 | index, outcome(window_access(accesses[index])), 0);
            window_set(level, window_entry(level) ^ rule->flip);
            window_flush();
            tally_turn(&tally, level << 8 | 0x10 | index, outcome(window_access(accesses[index])),
                       writes(accesses[index]) ? rule->write : rule->read);
        }
    leave();
    must_tally(&tally);
}

/* A check in each of the three modes, or the two with wide entries. */
#define OPERAND(name, ident, paging, in_mode, needed, cr0, summary, ...)                       \
    CHECK(name##_##ident, "W-30/" #name "/" in_mode, NEEDS_L2, ACCESS_RIGHTS "; " PAGE_FAULTS, \
          "VMPTRST, VMREAD and INVEPT with " in_mode " paging " summary)                       \
    {                                                                                          \
        static const struct rule rule = { __VA_ARGS__ };                                       \
        needed;                                                                                \
        each_level(paging, &rule, cr0);                                                        \
    }
#define OPERANDS(name, needed, cr0, summary, ...)                                     \
    OPERAND(name, 32_bit, PAGING_32_BIT, "32-bit", needed, cr0, summary, __VA_ARGS__) \
    OPERANDS_WIDE(name, needed, cr0, summary, __VA_ARGS__)
#define OPERANDS_WIDE(name, needed, cr0, summary, ...)                       \
    OPERAND(name, pae, PAGING_PAE, "PAE", needed, cr0, summary, __VA_ARGS__) \
    OPERAND(name, 4_level, PAGING_4_LEVEL, "4-level", need(FEATURE_LONG_MODE); needed, cr0, summary, __VA_ARGS__)

OPERANDS(present, , 0, "cause #PF at an operand that one level does not map", USER_PAGE, PTE_PRESENT, FAULT(0),
         FAULT(PF_WRITE))
OPERANDS(read_only, , CR0_WP, "cause #PF only at a write to a read-only page with CR0.WP=1",
         SUPERVISOR_PAGE, PTE_WRITABLE, 0, FAULT(PF_PRESENT | PF_WRITE))
OPERANDS(without_wp, , 0, "access a read-only page with CR0.WP=0 and cause no fault", USER_PAGE,
         PTE_WRITABLE, 0, 0)
OPERANDS_WIDE(address_bit, , 0, "cause #PF at an operand mapped by an entry with an address bit that the CPU lacks",
              SUPERVISOR_PAGE, (u64)1 << 51, FAULT(PF_PRESENT | PF_RESERVED),
              FAULT(PF_PRESENT | PF_RESERVED | PF_WRITE))
OPERANDS_WIDE(xd, need(FEATURE_NX), 0, "cause #PF at an operand mapped by an entry with XD=1 when NXE=0",
              SUPERVISOR_PAGE, PTE_XD, FAULT(PF_PRESENT | PF_RESERVED), FAULT(PF_PRESENT | PF_RESERVED | PF_WRITE))
