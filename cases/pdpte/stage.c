#include "stage.h"

struct pae_tables tables;

static u64 other_directory[512] PAGE_ALIGNED, table_here[512] PAGE_ALIGNED, table_other[512] PAGE_ALIGNED;
static u32 page_here[1024] PAGE_ALIGNED, page_other[1024] PAGE_ALIGNED;
static u32 reads;

void stage_set(void)
{
    pae_identity(&tables);
    for (u32 entry = 0; entry < 512; entry++) {
        tables.directories[WINDOW][entry] = address_of(table_here) | PTE_WRITABLE | PTE_PRESENT;
        other_directory[entry] = address_of(table_other) | PTE_WRITABLE | PTE_PRESENT;
        table_here[entry] = address_of(page_here) | PTE_WRITABLE | PTE_PRESENT;
        table_other[entry] = address_of(page_other) | PTE_WRITABLE | PTE_PRESENT;
    }
    fill32(page_here, HERE, ARRAY_SIZE(page_here));
    fill32(page_other, OTHER, ARRAY_SIZE(page_other));
    reads = 0;
}

struct mode pae(void)
{
    return (struct mode){ .cr0 = CR0_PG | CR0_ET | CR0_PE, .cr3 = address_of(tables.pdpt), .cr4 = CR4_PAE };
}

u64 other_pdpte(void)
{
    return address_of(other_directory) | PTE_PRESENT;
}

static u32 value_read;

void read_at(u32 address)
{
    value_read = *(volatile u32 *)address;
}

void write_at(u32 address)
{
    *(volatile u32 *)address = 0;
}

u32 read_through(u32 address)
{
    struct trap trap = trap_in(read_at, address);
    return trap.taken ? trap.vector : value_read;
}

u32 window_at(u32 entry)
{
    return (u32)WINDOW << 30 | entry << LARGE_PAGE_SHIFT;
}

u32 through_window(void)
{
    return read_through(window_at(reads++));
}

void execute_disable(bool on)
{
    static u64 before;
    if (on)
        before = read_msr(IA32_EFER);
    write_msr(IA32_EFER, on ? before | EFER_NXE : before);
}
