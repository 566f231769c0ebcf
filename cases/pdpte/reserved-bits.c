/* Reserved bits of the PDPTEs, and when they are looked at. */
#include "check.h"
#include "stage.h"

#define FORMAT "PDPTE Registers (Vol. 3, 4.4.1), table of the format of a PDPTE"

/* Bits 4:3 (PCD, PWT) mean something, bits 11:9 are ignored (SDM, the same table). */
enum { FREE_BITS = 0xE18 };
enum { TABLE_AT_FE0 = 0xFE0 };

static u64 other_pdpt[4] __attribute__((aligned(32)));
static u32 directory[1024] PAGE_ALIGNED;

/* All but the present bit and the directory's address. */
static u64 bits_tried(void)
{
    return ~((((u64)1 << physical_address_bits()) - 1) & ~(u64)0xFFF) & ~(u64)PTE_PRESENT;
}

/* Which of these bits, set alone in this PDPTE, make the MOV fault with #GP(0) in this mode. */
static u64 faulting_bits(u64 *pdpte, u64 bits, struct mode mode, void (*mov)(u32 value), u32 value)
{
    u64 faulting = 0, sound = *pdpte;
    for (u64 bit = 1; bit; bit <<= 1) {
        if (!(bits & bit))
            continue;
        *pdpte = sound | bit;
        struct trap trap = trap_in(mov, value);
        if (trap.vector == VECTOR_GP && trap.error_code == 0)
            faulting |= bit;
        if (trap.taken && (read_cr0() != mode.cr0 || read_cr3() != mode.cr3 || read_cr4() != mode.cr4))
            wrong("the MOV faulted, and changed a control register");
        *pdpte = sound;
        if (!trap.taken)
            mode_enter(mode);
    }
    return faulting;
}

/* In this mode, the MOV with sound PDPTEs at `pdpt` works, and with any reserved bit in any of them causes #GP(0). */
static void must_fault_at_reserved_bits(u64 pdpt[4], struct mode mode, void (*mov)(u32 value), u32 value)
{
    static const char *const fields[] = { "faulting_bits_0", "faulting_bits_1", "faulting_bits_2", "faulting_bits_3" };
    mode_enter(mode);
    must_not_fault(trap_in(mov, value));
    mode_enter(mode);
    for (u32 index = 0; index < 4; index++)
        must(fields[index], faulting_bits(&pdpt[index], bits_tried(), mode, mov, value), pdpte_reserved());
}

static void mov_to_cr0_checks_pdptes(void)
{
    struct mode on = pae(), off = on;
    off.cr0 &= ~CR0_PG;
    stage_set();
    must_fault_at_reserved_bits(tables.pdpt, off, mov_to_cr0, on.cr0);
    mode_leave();
}

CHECK(mov_cr0, "P-01/mov-cr0", NEEDS_PDPTE_REGISTERS, FORMAT,
      "MOV to CR0 that sets PG causes #GP(0) for each reserved bit in each present PDPTE, and for no other bit")
{
    mov_to_cr0_checks_pdptes();
}

CHECK(mov_cr0_nxe, "P-01/mov-cr0-nxe", NEEDS_PDPTE_REGISTERS, FORMAT,
      "MOV to CR0 that sets PG causes #GP(0) for bit 63 of a PDPTE although IA32_EFER.NXE=1")
{
    need(FEATURE_NX);
    execute_disable(true);
    mov_to_cr0_checks_pdptes();
    execute_disable(false);
}

CHECK(mov_cr3, "P-02/mov-cr3", NEEDS_PDPTE_REGISTERS, FORMAT,
      "MOV to CR3 causes #GP(0) for each reserved bit in each present PDPTE, and keeps CR3 and the PDPTE registers")
{
    stage_set();
    for (u32 index = 0; index < 4; index++)
        other_pdpt[index] = index == WINDOW ? other_pdpte() : tables.pdpt[index];
    must_fault_at_reserved_bits(other_pdpt, pae(), mov_to_cr3, address_of(other_pdpt));
    must("window", through_window(), HERE);
    mode_leave();
}

/* Tables of both modes at one CR3: 32-bit paging ignores its bits 11:5, PAE paging uses them. */
static u64 *set_both_modes(struct mode *bits_32)
{
    u64 *pdpt = (u64 *)((u8 *)directory + TABLE_AT_FE0);
    stage_set();
    identity_32_bit(directory);
    for (u32 index = 0; index < 4; index++)
        pdpt[index] = tables.pdpt[index];
    *bits_32 = (struct mode){ .cr0 = pae().cr0, .cr3 = address_of(pdpt), .cr4 = CR4_PSE };
    return pdpt;
}

CHECK(mov_cr4, "P-03/mov-cr4", NEEDS_PDPTE_REGISTERS, FORMAT,
      "MOV to CR4 that sets PAE under 32-bit paging causes #GP(0) for each reserved bit in each present PDPTE")
{
    struct mode bits_32;
    u64 *pdpt = set_both_modes(&bits_32);
    must_fault_at_reserved_bits(pdpt, bits_32, mov_to_cr4, CR4_PSE | CR4_PAE);
    mode_leave();
}

CHECK(not_present, "P-04/not-present", NEEDS_PDPTE_REGISTERS, "PDPTE Registers (Vol. 3, 4.4.1), footnote",
      "MOV to CR0 that sets PG accepts reserved bits in a PDPTE with P=0, but some CPUs check them")
{
    static const char *const fields[] = { "", "faulting_bits_1", "faulting_bits_2", "faulting_bits_3" };
    struct mode on = pae(), off = on;
    off.cr0 &= ~CR0_PG;
    stage_set();
    mode_enter(off);
    for (u32 index = 1; index < 4; index++) {
        tables.pdpt[index] = 0;
        noted(fields[index], faulting_bits(&tables.pdpt[index], pdpte_reserved(), off, mov_to_cr0, on.cr0));
    }
    mode_leave();
    leave_open();
}

CHECK(free_bits, "P-05/free-bits", NEEDS_PAE, FORMAT,
      "MOV to CR0 that sets PG accepts bits 3, 4 and 11:9 in the PDPTEs, and the translation works")
{
    struct mode on = pae(), off = on;
    off.cr0 &= ~CR0_PG;
    stage_set();
    for (u32 index = 0; index < 4; index++)
        tables.pdpt[index] |= FREE_BITS;
    mode_enter(off);
    must_not_fault(trap_in(mov_to_cr0, on.cr0));
    must("window", through_window(), HERE);
    mode_leave();
}

CHECK(pae_to_32_bit, "P-22/pae-to-32-bit", NEEDS_PAE,
      "PDPTE Registers (Vol. 3, 4.4.1); Paging-Mode Enabling (Vol. 3, 4.1.2)",
      "MOV to CR4 that clears PAE under PAE paging loads no PDPTE and causes no #GP when each has a reserved bit")
{
    struct mode bits_32, there;
    u64 *pdpt = set_both_modes(&bits_32);
    there = bits_32;
    there.cr4 |= CR4_PAE;
    mode_enter(there);
    must("window", through_window(), HERE);
    for (u32 index = 0; index < 4; index++)
        pdpt[index] |= PDPTE_RESERVED;
    must_not_fault(trap_in(mov_to_cr4, bits_32.cr4));
    must("cr4", read_cr4(), bits_32.cr4);
    must("image", read_through(address_of(&tables.pdpt[WINDOW])), (u32)tables.pdpt[WINDOW]);
    mode_leave();
}

CHECK(cr3_above_ram, "P-23/cr3-above-ram", NEEDS_PDPTE_REGISTERS, "PDPTE Registers (Vol. 3, 4.4.1)",
      "MOV to CR3 of an address without RAM may cause #GP(0), as all ones there would be reserved bits")
{
    stage_set();
    mode_enter(pae());
    struct trap trap = trap_in(mov_to_cr3, 0xD0000000);
    saw("fault", trap.taken);
    if (trap.taken) {
        saw("vector", trap.vector);
        saw("error_code", trap.error_code);
    }
    saw("cr3_changed", read_cr3() != pae().cr3);
    mode_leave();
    leave_open();
}
