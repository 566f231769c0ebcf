/* W-29 and W-31: page faults of L2 and flags in its paging-structure entries, at each level, without EPT and with it.
   L1 gets the faults by the exception bitmap, mends the entry, and L2 goes on. A hypervisor below L1 walks L2's tables
   itself for INSB and OUTSB. */
#include "stage.h"

#include "feature.h"
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

/* W-32: large guest pages, which a hypervisor below L1 walks through for string I/O. EPT maps one 4 KiB page of what
   such a page refers to, and does so to the window's page. */
static void large_page(enum paging paging, enum level level, u64 entry, u64 guest_physical)
{
    struct tally tally = { 0 };
    l2_prepare(NULL);
    l2_window_use(paging);
    u64 bytes = paging == PAGING_32_BIT ? (u64)4 << 20 : (u64)1 << (12 + 9 * level);
    u64 inside = l2_window_linear(L2_FETCH) & (bytes - 1) & ~(u64)(PAGE_SIZE - 1);
    l2_window_set(level, entry | PTE_LARGE | PTE_DIRTY | PTE_ACCESSED | PTE_WRITABLE | PTE_PRESENT);
    ept_map(guest_physical + inside, l2_window_page, EPT_ALL);
    u64 byte = l2_window_linear(L2_READ) % PAGE_SIZE;
    for (enum l2_access access = L2_READ; access <= L2_OUTS; access++) {
        if (access == L2_MODIFY)
            continue;
        l2_window_page[byte] = 0xA5;
        struct vm_exit exit = l2_window_access(access);
        tally_turn(&tally, turn_of(0, access), exit.exception ? exit.vector | 1 << 8 : exit.reason, EXIT_VMCALL);
        if (access == L2_WRITE || access == L2_INS)
            tally_turn(&tally, turn_of(1, access), l2_window_page[byte] != 0xA5, true);
    }
    must_tally(&tally);
}

CHECK(pse_36, "W-32/pse-36", NEEDS_L2, "4-MByte Pages and PSE-36 (Vol. 3, 4.3)",
      "MOV, a fetch, INSB and OUTSB in L2 access a 4 MiB page by its address bits 39:32, bits 20:13 of the PDE")
{
    need(FEATURE_PSE36);
    u64 high = (u64)1 << 32 | (u64)3 << 34;
    large_page(PAGING_32_BIT, LEVEL_PDE, 0x01000000 | (u32)(high >> 32) << 13, high | 0x01000000);
}

CHECK(large_pae, "W-32/pae", NEEDS_L2, "Paging (Vol. 3, 4.4.2)",
      "MOV, a fetch, INSB and OUTSB in L2 access a 2 MiB page of PAE paging at the offset of the linear address")
{
    large_page(PAGING_PAE, LEVEL_PDE, 0x40200000, 0x40200000);
}

CHECK(large_4_level, "W-32/4-level", NEEDS_L2, "Paging (Vol. 3, 4.5.4)",
      "MOV, a fetch, INSB and OUTSB in L2 access a 2 MiB page of 4-level paging at the offset of the linear address")
{
    need(FEATURE_LONG_MODE);
    large_page(PAGING_4_LEVEL, LEVEL_PDE, 0x40200000, 0x40200000);
}

CHECK(huge_4_level, "W-32/4-level-1-gib", NEEDS_L2, "Paging (Vol. 3, 4.5.4)",
      "MOV, a fetch, INSB and OUTSB in L2 access a 1 GiB page of 4-level paging at the offset of the linear address")
{
    need(FEATURE("no 1 GiB pages", 0x80000001, EDX, 26));
    large_page(PAGING_4_LEVEL, LEVEL_PDPTE, 0x80000000, 0x80000000);
}

/* Bits that must be 0 in the entry of a large page: each alone faults, by whatever access. */
static void reserved_in_large(enum paging paging, enum level level, u64 bits)
{
    static const enum l2_access some[] = { L2_READ, L2_INS, L2_OUTS };
    struct tally tally = { 0 };
    l2_prepare(NULL);
    l2_window_use(paging);
    u64 plain = 0x40000000 | PTE_LARGE | PTE_DIRTY | PTE_ACCESSED | PTE_WRITABLE | PTE_PRESENT;
    u64 inside = l2_window_linear(L2_FETCH) & (((u64)1 << (12 + 9 * level)) - 1) & ~(u64)(PAGE_SIZE - 1);
    ept_map(0x40000000 + inside, l2_window_page, EPT_ALL);
    for (u32 bit = 0; bit < 52; bit++) {
        if (!(bits >> bit & 1))
            continue;
        for (u32 index = 0; index < ARRAY_SIZE(some); index++) {
            l2_window_set(level, plain | (u64)1 << bit);
            struct vm_exit exit = l2_window_access(some[index]);
            u32 error_code = PF_RESERVED | PF_PRESENT | (some[index] == L2_INS ? PF_WRITE : 0);
            tally_turn(&tally, turn_of(bit, some[index]),
                       exit.exception ? (u64)exit.vector << 32 | exit.error_code : exit.reason,
                       (u64)VECTOR_PF << 32 | error_code);
        }
    }
    must_tally(&tally);
}

CHECK(reserved_pae, "W-32/reserved-pae", NEEDS_L2, "PAE Paging: Table 4-9 (Vol. 3, 4.4.2)",
      "MOV, INSB and OUTSB in L2 cause #PF at a 2 MiB page of PAE paging whose PDE has one of bits 20:13 set")
{
    reserved_in_large(PAGING_PAE, LEVEL_PDE, 0x1FE000);
}

CHECK(reserved_4_level, "W-32/reserved-4-level", NEEDS_L2, "4-Level Paging (Vol. 3, 4.5.4)",
      "MOV, INSB and OUTSB in L2 cause #PF at a 2 MiB page of 4-level paging whose PDE has one of bits 20:13 set")
{
    need(FEATURE_LONG_MODE);
    reserved_in_large(PAGING_4_LEVEL, LEVEL_PDE, 0x1FE000);
}

/* EPT allows fetches of the window's page alone. */
CHECK(execute_only, "W-33/execute-only", NEEDS_L2, EPT_VIOLATIONS,
      "OUTSB and INSB in L2 at a page that EPT makes execute-only cause an EPT violation, of a read and of a write")
{
    struct tally tally = { 0 };
    need_execute_only();
    for (enum l2_access access = L2_INS; access <= L2_OUTS; access++) {
        window_at(PAGING_PAE, OWN_PDPTE);
        ept_protect_at(OWN_PDPTE, EPT_EXECUTE);
        struct vm_exit exit = l2_window_access(access);
        u32 kind = access == L2_INS ? VIOLATION_WRITE : VIOLATION_READ;
        u64 linear = l2_window_linear(access);
        tally_ept(&tally, access, &exit, violation_of_page(kind, EPT_EXECUTE, OWN_PDPTE + linear % PAGE_SIZE, linear));
    }
    must_tally(&tally);
}
