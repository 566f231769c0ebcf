/* Linear addresses through PAE tables. */
#include "check.h"
#include "stage.h"

#define TRANSLATION "Linear-Address Translation with PAE Paging (Vol. 3, 4.4.2)"
#define LARGE_PAGES TRANSLATION ", table of the format of a PDE that maps a 2-MByte page"
#define FAULTS "Page-Fault Exceptions (Vol. 3, 4.7)"

static void call_at(u32 address)
{
    ((void (*)(void))address)();
}

/* String I/O, which a hypervisor below L1 may intercept: it walks L1's tables itself then. */
static void outs_at(u32 address)
{
    asm volatile("outsb" : "+S"(address) : "d"(0x80) : "memory");
}

static void ins_at(u32 address)
{
    asm volatile("insb" : "+D"(address) : "d"(0x61) : "memory");
}

static void must_miss(void (*access)(u32 address), u32 address, u32 error_code)
{
    stage_set();
    tables.pdpt[WINDOW] = 0;
    mode_enter(pae());
    struct trap trap = trap_in(access, address);
    mode_leave();
    must("fault", trap.taken, true);
    must("vector", trap.vector, VECTOR_PF);
    must("error_code", trap.error_code, error_code);
    must("cr2", trap.cr2, address);
}

CHECK(read_absent, "P-06/read", NEEDS_PAE, FAULTS, "A read through a PDPTE with P=0 causes #PF with P=0")
{
    must_miss(read_at, window_at(0) + 0x123450, 0);
}

CHECK(write_absent, "P-06/write", NEEDS_PAE, FAULTS, "A write through a PDPTE with P=0 causes #PF with P=0 and W/R=1")
{
    must_miss(write_at, window_at(511) + 0x1FFFF0, PF_WRITE);
}

CHECK(fetch_absent, "P-06/fetch", NEEDS_PAE, FAULTS,
      "A fetch through a PDPTE with P=0 causes #PF with P=0, and with I/D=0 as NXE=0 and SMEP=0")
{
    must_miss(call_at, window_at(7) + 0x10, 0);
}

CHECK(outs_absent, "P-06/outs", NEEDS_PAE, FAULTS, "OUTSB through a PDPTE with P=0 causes #PF with P=0")
{
    must_miss(outs_at, window_at(3) + 0x20, 0);
}

CHECK(ins_absent, "P-06/ins", NEEDS_PAE, FAULTS, "INSB through a PDPTE with P=0 causes #PF with P=0 and W/R=1")
{
    must_miss(ins_at, window_at(300) + 0x1FFFF0, PF_WRITE);
}

CHECK(table_at_fe0, "P-16/table-at-fe0", NEEDS_PAE, "CR3 with PAE paging (Vol. 3, 4.4.1)",
      "The CPU translates with the four PDPTEs at offset FE0h of a page when CR3 points at them")
{
    stage_set();
    u64 *pdpt = tables.pdpt + ARRAY_SIZE(tables.pdpt) - 4;
    pdpt[0] = tables.pdpt[0];
    pdpt[1] = other_pdpte();
    pdpt[2] = tables.pdpt[WINDOW];
    pdpt[3] = other_pdpte();
    struct mode mode = pae();
    mode.cr3 = address_of(pdpt);
    mode_enter(mode);
    must("cr3", read_cr3(), address_of(tables.pdpt) + 0xFE0);
    must("quarter_1", read_through(1u << 30), OTHER);
    must("quarter_2", read_through(2u << 30), HERE);
    must("quarter_3", read_through(3u << 30), OTHER);
    mode_leave();
}

static volatile u32 landmark;

static u64 large_page(void)
{
    landmark = 0x4C4D;
    return (address_of(&landmark) >> LARGE_PAGE_SHIFT << LARGE_PAGE_SHIFT) | PTE_LARGE | PTE_PRESENT;
}

/* The linear address of the landmark by this page-directory entry of the window. */
static u32 landmark_at(u32 entry)
{
    return window_at(entry) | (address_of(&landmark) & ((1u << LARGE_PAGE_SHIFT) - 1));
}

CHECK(large_page_works, "P-17/without-pse", NEEDS_PAE, TRANSLATION,
      "A PDE with PS=1 maps 2 MiB under PAE paging although CR4.PSE=0")
{
    stage_set();
    tables.directories[WINDOW][5] = large_page();
    mode_enter(pae());
    must("cr4", read_cr4(), CR4_PAE);
    must("landmark", read_through(landmark_at(5)), landmark);
    mode_leave();
}

/* Set, one by one, all bits of a PDE that maps a 2 MiB page but P, PS and the address: which make a read fault? */
static void must_fault_at_bits(void (*access)(u32 address), u64 required)
{
    u64 address_bits = (((u64)1 << physical_address_bits()) - 1) >> LARGE_PAGE_SHIFT << LARGE_PAGE_SHIFT;
    u64 tried = ~address_bits & ~(u64)(PTE_PRESENT | PTE_LARGE), faulting = 0, working = 0;
    u32 error_codes = 0;
    stage_set();
    for (u32 bit = 0; bit < 64; bit++)
        tables.directories[WINDOW][bit] = large_page() | (u64)1 << bit;
    mode_enter(pae());
    for (u32 bit = 0; bit < 64; bit++) {
        if (!(tried >> bit & 1))
            continue;
        struct trap trap = trap_in(access, landmark_at(bit));
        error_codes |= trap.error_code;
        if (trap.vector == VECTOR_PF && trap.error_code & PF_RESERVED)
            faulting |= (u64)1 << bit;
        else if (!trap.taken && read_through(landmark_at(bit)) == landmark)
            working |= (u64)1 << bit;
    }
    mode_leave();
    must("faulting_bits", faulting, required);
    must("working_bits", working, tried & ~required);
    must("error_code", error_codes, PF_PRESENT | PF_RESERVED);
}

static u64 reserved_in_large_page(void)
{
    return ~(((u64)1 << physical_address_bits()) - 1) | 0x1FE000; /* 63:MAXPHYADDR and 20:13 */
}

CHECK(large_page_reserved, "P-18/large-page", NEEDS_PAE, LARGE_PAGES,
      "A read through a 2 MiB page causes #PF with RSVD for bits 20:13 and 63:MAXPHYADDR of the PDE when NXE=0")
{
    must_fault_at_bits(read_at, reserved_in_large_page());
}

CHECK(large_page_reserved_nxe, "P-18/large-page-nxe", NEEDS_PAE, LARGE_PAGES,
      "A read through a 2 MiB page causes #PF with RSVD for bits 20:13 and 62:MAXPHYADDR of the PDE when NXE=1")
{
    need(FEATURE_NX);
    execute_disable(true);
    must_fault_at_bits(read_at, reserved_in_large_page() & ~((u64)1 << 63));
    execute_disable(false);
}

CHECK(large_page_reserved_io, "P-18/outs", NEEDS_PAE, LARGE_PAGES,
      "OUTSB from a 2 MiB page causes #PF with RSVD for bits 20:13 and 63:MAXPHYADDR of the PDE when NXE=0")
{
    must_fault_at_bits(outs_at, reserved_in_large_page());
}

/* The four PDPTEs lead to page directories of their own, and INSB to four addresses writes to four pages. */
CHECK(four_pdptes, "P-16/ins", NEEDS_PAE, TRANSLATION,
      "INSB to one offset in each of four GiB writes through the PDPTE of that GiB")
{
    enum { PAGES_APART = 2 << 20, FIRST_PAGE = 32 << 20, OFFSET = 0x123, MARK = 0xEE, ENTRY = 9 };
    stage_set();
    for (u32 quarter = 0; quarter < 4; quarter++) {
        u32 page = FIRST_PAGE + quarter * PAGES_APART;
        tables.directories[quarter][ENTRY] = page | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
        *(volatile u8 *)(page + OFFSET) = MARK;
    }
    mode_enter(pae());
    u32 written = 0;
    for (u32 quarter = 0; quarter < 4; quarter++) {
        struct trap trap = trap_in(ins_at, (quarter << 30) + ENTRY * PAGES_APART + OFFSET);
        for (u32 page = 0; page < 4; page++)
            if (!trap.taken && *(volatile u8 *)(FIRST_PAGE + page * PAGES_APART + OFFSET) != MARK)
                written |= 1u << (quarter * 4 + page);
    }
    mode_leave();
    must("written", written, 0xF731);
}
