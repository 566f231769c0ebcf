/* W-20 to W-22: what a CPU may keep of EPT and of L2's tables, and INVEPT and INVVPID. */
#include "stage.h"

#include "cpu.h"
#include "l1_mode.h"
#include "vectors.h"

enum { INVALID_OPERAND = 28 }; /* the VM-instruction error */
enum { EPTP_RESERVED_FROM = 8, PAGE_SHIFT = 12 }; /* bit 7 belongs to supervisor shadow stacks */
enum { INDIVIDUAL_ADDRESS, SINGLE_VPID, ALL_VPIDS, SINGLE_RETAINING_GLOBALS, INVVPID_TYPES };
#define INVEPT_SDM "INVEPT - Invalidate Translations Derived from EPT (Vol. 3, 31.3)"
#define INVVPID_SDM "INVVPID - Invalidate Translations Based on VPID (Vol. 3, 31.3)"

/* No INVEPT: the violation itself has flushed what translates its address. */
CHECK(added, "W-20/added", NEEDS_L2, "Operations that Invalidate Cached Mappings (Vol. 3, 29.4.3.1)",
      "After an EPT violation L2 goes on once the right is added to the entry of any level, without INVEPT")
{
    struct tally tally = { 0 };
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++)
        for (enum l2_access access = L2_READ; access < L2_MODIFY; access++) {
            u32 rights = access == L2_READ ? EPT_NOTHING : EPT_READ;
            window_at(PAGING_PAE, OWN_PML4E);
            ept_edit(ept_entry(OWN_PML4E, level), EPT_ALL, rights);
            access_turn(&tally, turn_of(level, access), access, l2_window_outcome(access, rights, OWN_PML4E));
            *ept_entry(OWN_PML4E, level) |= EPT_ALL;
            access_turn(&tally, turn_of(0x10 | level, access), access, ept_passes());
        }
    must_tally(&tally);
}

CHECK(reduced, "W-21/without-invept", NEEDS_L2, INVALIDATION,
      "L2 reads or exits after L1 has made an EPT PTE not present without INVEPT")
{
    window_at(PAGING_PAE, OWN_PML4E);
    l2_window_access(L2_READ);
    *ept_entry(OWN_PML4E, EPT_PTE) = 0;
    noted("exit_reason", l2_window_access(L2_READ).reason);
    leave_open();
}

/* The right is withdrawn between two runs of L2, at each level. */
static void withdrawn(u32 type, u64 capability)
{
    struct tally tally = { 0 };
    if (!(ept_capabilities() & capability))
        skip("no INVEPT of this type");
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++) {
        window_at(PAGING_PAE, OWN_PML4E);
        for (enum l2_access access = L2_READ; access < L2_MODIFY; access++) {
            u32 rights = access == L2_READ ? EPT_NOTHING : EPT_READ;
            access_turn(&tally, turn_of(level, access), access, ept_passes());
            *ept_entry(OWN_PML4E, level) = (*ept_entry(OWN_PML4E, level) & ~(u64)EPT_ALL) | rights;
            u64 eptp = type == SINGLE_CONTEXT ? ept_pointer() : 0;
            tally_turn(&tally, turn_of(0x10 | level, access),
                       vmx_invept(type, &(struct invept_descriptor){ eptp, 0 }), VM_SUCCEED);
            access_turn(&tally, turn_of(0x20 | level, access), access, l2_window_outcome(access, rights, OWN_PML4E));
            *ept_entry(OWN_PML4E, level) |= EPT_ALL;
        }
    }
    must_tally(&tally);
}

CHECK(single, "W-21/single-context", NEEDS_L2, INVEPT_SDM "; " INVALIDATION,
      "L2 exits after a right was withdrawn in the EPT entry of any level and a single-context INVEPT")
{
    withdrawn(SINGLE_CONTEXT, EPT_CAPABILITY_INVEPT_SINGLE);
}

CHECK(all, "W-21/all-contexts", NEEDS_L2, INVEPT_SDM "; " INVALIDATION,
      "L2 exits after a right was withdrawn in the EPT entry of any level and an all-context INVEPT")
{
    withdrawn(ALL_CONTEXTS, EPT_CAPABILITY_INVEPT_ALL);
}

CHECK(remapped, "W-21/remapped", NEEDS_L2, INVEPT_SDM "; " INVALIDATION,
      "L2 reads the new page after an EPT PTE was changed and an INVEPT")
{
    static u32 other[PAGE_SIZE / sizeof(u32)] PAGE_ALIGNED;
    window_at(PAGING_PAE, OWN_PML4E);
    u32 word = (u32)(l2_window_linear(L2_READ) % PAGE_SIZE / sizeof(u32));
    other[word] = 0x600D;
    ((u32 *)l2_window_page)[word] = 0xBAD;
    must("first_eax", l2_window_access(L2_READ).registers.eax, 0xBAD);
    ept_map(OWN_PML4E, other, EPT_ALL);
    must("second_eax", l2_window_access(L2_READ).registers.eax, 0x600D);
}

CHECK(remapped_table, "W-21/remapped-table", NEEDS_L2, INVEPT_SDM "; " INVALIDATION,
      "L2 reads the new page after the EPT entry of any level was changed to another table and an INVEPT")
{
    static u32 target[PAGE_SIZE / sizeof(u32)] PAGE_ALIGNED;
    static u64 tables[EPT_PML4E][512] PAGE_ALIGNED;
    for (enum ept_level level = EPT_PDE; level <= EPT_PML4E; level++) {
        window_at(PAGING_PAE, OWN_PML4E);
        u32 word = (u32)(l2_window_linear(L2_READ) % PAGE_SIZE / sizeof(u32));
        target[word] = 0x600D;
        ((u32 *)l2_window_page)[word] = 0xBAD;
        u32 first = l2_window_access(L2_READ).registers.eax;
        for (enum ept_level below = EPT_PTE; below < level; below++)
            tables[below][0] = below == EPT_PTE ? address_of(target) | EPT_WRITE_BACK | EPT_ALL
                                                : address_of(tables[below - 1]) | EPT_ALL;
        ept_edit(ept_entry(OWN_PML4E, level), ~(u64)0, address_of(tables[level - 1]) | EPT_ALL);
        u32 second = l2_window_access(L2_READ).registers.eax;
        must(level == EPT_PDE ? "pde" : level == EPT_PDPTE ? "pdpte" : "pml4e", (u64)first << 32 | second,
             (u64)0xBAD << 32 | 0x600D);
    }
}

CHECK(invept_types, "W-22/types", NEEDS_L2, INVEPT_SDM,
      "INVEPT with a type that the CPU does not support fails with error 28, with one that it supports it succeeds")
{
    struct tally tally = { 0 };
    l2_prepare(NULL);
    for (u32 bit = 0; bit < 33; bit++) {
        u32 type = bit < 32 ? 1u << bit : 0;
        bool right = (type == SINGLE_CONTEXT && ept_capabilities() & EPT_CAPABILITY_INVEPT_SINGLE) ||
                     (type == ALL_CONTEXTS && ept_capabilities() & EPT_CAPABILITY_INVEPT_ALL);
        u32 outcome = vmx_invept(type, &(struct invept_descriptor){ ept_pointer(), 0 });
        tally_turn(&tally, type, outcome, right ? VM_SUCCEED : INVALID_OPERAND);
    }
    tally_turn(&tally, 3, vmx_invept(3, &(struct invept_descriptor){ ept_pointer(), 0 }), INVALID_OPERAND);
    must_tally(&tally);
}

/* What VM entry would refuse, too: memory types, walk lengths, reserved bits, addresses. */
CHECK(invept_pointer, "W-22/eptp", NEEDS_L2, INVEPT_SDM "; Extended-Page-Table Pointer (EPTP) (Vol. 3, 25.6.11)",
      "Single-context INVEPT fails with error 28 for each EPTP that VM entry does not take")
{
    struct tally tally = { 0 };
    if (!(ept_capabilities() & EPT_CAPABILITY_INVEPT_SINGLE))
        skip("no single-context INVEPT");
    l2_prepare(NULL);
    u64 plain = ept_pointer() & ~(u64)0xFFF;
    for (u64 low = 0; low < 0x80; low++) {
        u32 type = low & 7, length = low >> 3 & 7;
        bool right = (type == 6 || (type == 0 && ept_capabilities() & EPT_CAPABILITY_UNCACHEABLE)) &&
                     (length == 3 || (length == 4 && ept_capabilities() & EPT_CAPABILITY_WALK_5)) &&
                     (!(low & 0x40) || ept_capabilities() & EPT_CAPABILITY_ACCESSED_DIRTY);
        u32 outcome = vmx_invept(SINGLE_CONTEXT, &(struct invept_descriptor){ plain | low, 0 });
        tally_turn(&tally, low, outcome, right ? VM_SUCCEED : INVALID_OPERAND);
    }
    for (u32 bit = EPTP_RESERVED_FROM; bit < 64; bit++)
        if (bit < PAGE_SHIFT || bit >= physical_address_bits())
            tally_turn(&tally, bit << 12,
                       vmx_invept(SINGLE_CONTEXT, &(struct invept_descriptor){ ept_pointer() | (u64)1 << bit, 0 }),
                       INVALID_OPERAND);
    must_tally(&tally);
}

CHECK(invept_reserved, "W-22/reserved", NEEDS_L2, INVEPT_SDM,
      "INVEPT with a bit of the descriptor's high half set fails with error 28")
{
    l2_prepare(NULL);
    leave_open(); /* the table of the descriptor says that they must be zero, the operation does not check it */
    noted("vm_instruction_error", vmx_invept(ALL_CONTEXTS, &(struct invept_descriptor){ ept_pointer(), 1 }));
}

L2_CODE(invalidates_ept, "movl $2, %eax; invept (%ebx), %eax");
L2_CODE(invalidates_vpid, "movl $2, %eax; invvpid (%ebx), %eax");
static u32 zeros[4];

static void must_exit_from(const struct l2_code *code, enum exit_reason reason)
{
    enum { MOV_BYTES = 5 };
    l2_prepare(code->start);
    l2_registers.ebx = address_of(zeros);
    struct vm_exit exit = l2_try(code);
    must("exit_reason", exit.reason, reason);
    must("rip_offset", rip_offset(&exit, code->start), MOV_BYTES);
    must("exit_instruction_length", exit.instruction_length, (u32)(code->end - code->start) - MOV_BYTES);
    /* Segment DS, base EBX, no index, 32-bit address, register EAX. */
    must("exit_instruction_segment", exit.instruction_information >> 15 & 7, 3);
    must("exit_instruction_base", exit.instruction_information >> 23 & 0x1F, 3);
    must("exit_instruction_index_invalid", exit.instruction_information >> 22 & 1, 1);
    must("exit_instruction_register", exit.instruction_information >> 28 & 0xF, 0);
    saw_exit(&exit, code->start);
}

CHECK(invept_in_l2, "W-22/invept-in-l2", NEEDS_L2, INVEPT_SDM, "INVEPT in L2 causes a VM exit with its operands")
{
    must_exit_from(&invalidates_ept, EXIT_INVEPT);
}

CHECK(invvpid_in_l2, "W-22/invvpid-in-l2", NEEDS_L2, INVVPID_SDM, "INVVPID in L2 causes a VM exit with its operands")
{
    must_exit_from(&invalidates_vpid, EXIT_INVVPID);
}

static void invept_all(u32 unused)
{
    (void)unused;
    asm volatile("invept %0, %1" : : "m"(zeros), "r"(ALL_CONTEXTS) : "cc", "memory");
}

CHECK(invept_outside, "W-22/outside", NEEDS_L2, INVEPT_SDM, "INVEPT causes #UD outside VMX operation")
{
    vmx_off();
    struct trap trap = trap_in(invept_all, 0);
    vmx_on_again();
    must("vector", trap.taken ? trap.vector : ~0u, VECTOR_UD);
}

static bool has_invvpid(u32 type)
{
    return ept_capabilities() & EPT_CAPABILITY_INVVPID && ept_capabilities() & EPT_CAPABILITY_INVVPID_TYPE(type);
}

CHECK(invvpid_operands, "W-22/invvpid-operands", NEEDS_L2, INVVPID_SDM,
      "INVVPID fails with error 28 for types that the CPU lacks, reserved bits, and VPID 0 where the type uses it")
{
    struct tally tally = { 0 };
    if (!(ept_capabilities() & EPT_CAPABILITY_INVVPID))
        skip("no INVVPID");
    l2_prepare(NULL);
    for (u32 type = 0; type < 64; type++) {
        bool right = type < INVVPID_TYPES && has_invvpid(type);
        struct invvpid_descriptor one = { 1, address_of(zeros) }, none = { 0, address_of(zeros) };
        tally_turn(&tally, type << 8, vmx_invvpid(type, &one), right ? VM_SUCCEED : INVALID_OPERAND);
        tally_turn(&tally, type << 8 | 1, vmx_invvpid(type, &none),
                   right && type == ALL_VPIDS ? VM_SUCCEED : INVALID_OPERAND);
    }
    for (u32 bit = 16; bit < 64; bit++)
        for (u32 type = 0; type < INVVPID_TYPES; type++)
            if (has_invvpid(type)) {
                struct invvpid_descriptor reserved = { 1 | (u64)1 << bit, 0 };
                tally_turn(&tally, bit << 16 | type, vmx_invvpid(type, &reserved), INVALID_OPERAND);
            }
    if (has_invvpid(INDIVIDUAL_ADDRESS)) {
        struct invvpid_descriptor not_canonical = { 1, (u64)1 << 62 };
        tally_turn(&tally, 1 << 8, vmx_invvpid(INDIVIDUAL_ADDRESS, &not_canonical), INVALID_OPERAND);
    }
    must_tally(&tally);
}

/* L1 changes L2's own PTE. With a VPID its old translation lives on until INVVPID. */
static void unmapped_by_l1(u32 type, u32 vpid)
{
    enum { L2_VPID = 5 };
    if (vpid && !has_invvpid(type))
        skip("no INVVPID of this type");
    window_at(PAGING_PAE, 0);
    vmcs_write(EXCEPTION_BITMAP, 1 << VECTOR_PF);
    if (vpid) {
        vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_VPID, "no VPIDs");
        vmcs_write(VPID, L2_VPID);
    }
    must("first_exit_reason", l2_window_access(L2_WRITE).reason, EXIT_VMCALL);
    l2_window_set(LEVEL_PTE, 0);
    if (vpid) {
        struct invvpid_descriptor descriptor = { type == ALL_VPIDS ? 0 : L2_VPID, l2_window_linear(L2_WRITE) };
        must("invvpid", vmx_invvpid(type, &descriptor), VM_SUCCEED);
    }
    struct vm_exit exit = l2_window_access(L2_WRITE);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("vector", exit.vector, VECTOR_PF);
    must("cr2", exit.exception_cr2, l2_window_linear(L2_WRITE));
    saw_exit(&exit, l2_window_instruction(L2_WRITE));
}

#define UNMAPPED(name, type, words)                                                                       \
    CHECK(vpid_##name, "W-22/invvpid/" #name, NEEDS_L2, INVVPID_SDM,                                      \
          "L2, which has a VPID, faults after L1 has unmapped its page and executed a " words " INVVPID") \
    {                                                                                                     \
        unmapped_by_l1(type, true);                                                                       \
    }
UNMAPPED(address, INDIVIDUAL_ADDRESS, "individual-address")
UNMAPPED(single, SINGLE_VPID, "single-context")
UNMAPPED(all, ALL_VPIDS, "all-context")
UNMAPPED(retaining, SINGLE_RETAINING_GLOBALS, "single-context-retaining-globals")

CHECK(no_vpid, "W-22/no-vpid", NEEDS_L2, "Operations that Invalidate Cached Mappings (Vol. 3, 29.4.3.1)",
      "L2 without a VPID faults after L1 has unmapped a page of L2's in L2's own page table")
{
    unmapped_by_l1(0, false);
}

CHECK(invvpid_canonical, "W-22/invvpid-canonical", NEEDS_L2, INVVPID_SDM,
      "Individual-address INVVPID in 64-bit mode fails with error 28 for an address that is not canonical")
{
    struct tally tally = { 0 };
    if (!(ept_capabilities() & EPT_CAPABILITY_INVVPID) ||
        !(ept_capabilities() & EPT_CAPABILITY_INVVPID_TYPE(INDIVIDUAL_ADDRESS)))
        skip("no individual-address INVVPID");
    l2_prepare(NULL);
    l1_in_64_bit_mode();
    for (u32 bit = 0; bit < 64; bit++) {
        bool canonical = bit < 47;
        struct invvpid_descriptor descriptor = { 1, (u64)1 << bit };
        tally_turn(&tally, bit, vmx_invvpid(INDIVIDUAL_ADDRESS, &descriptor),
                   canonical ? VM_SUCCEED : INVALID_OPERAND);
    }
    must_tally(&tally);
}
