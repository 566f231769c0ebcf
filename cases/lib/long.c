#include "long.h"

#include "cpu.h"
#include "mode.h"
#include "paging.h"

struct long_gate {
    u16 offset_low, selector, attributes, offset_middle;
    u32 offset_high, reserved;
};
enum { INTERRUPT_GATE_64 = 0x8E00 };

extern const char long_entries[];
void long_call(u32 unused);

/* Read and written by long_entry.S. */
u32 long_body;
u64 long_argument, long_rax;

u64 long_pml4[512] PAGE_ALIGNED;
static struct pae_tables tables;
static struct long_gate idt[EXCEPTIONS];
static u64 home_efer;

void long_stage(void)
{
    pae_identity(&tables);
    /* Unlike those of PAE paging, these PDPTEs have a writable bit. */
    for (u32 entry = 0; entry < 4; entry++)
        tables.pdpt[entry] |= PTE_WRITABLE;
    /* The PML4 table serves 32-bit paging as well, for a CPU that wrongly goes there: its first entry is also that of a
       page directory, and the PDPTEs above 8 GiB, which nobody uses, are the page table of the first 4 MiB. */
    u32 *page_table = (u32 *)tables.pdpt;
    for (u32 page = 16; page < 1024; page++)
        page_table[page] = page * PAGE_SIZE | PTE_WRITABLE | PTE_PRESENT;
    for (u32 entry = 0; entry < ARRAY_SIZE(long_pml4); entry++)
        long_pml4[entry] = entry ? 0 : address_of(tables.pdpt) | PTE_WRITABLE | PTE_PRESENT;
    mode_enter((struct mode){ read_cr0() & ~CR0_PG, address_of(long_pml4), CR4_PAE });
    home_efer = read_msr(IA32_EFER);
    write_msr(IA32_EFER, home_efer | EFER_LME);
}

void long_enter(void)
{
    long_stage();
    write_cr0(read_cr0() | CR0_PG);
    for (u32 vector = 0; vector < EXCEPTIONS; vector++) {
        u32 entry = address_of(long_entries) + vector * EXCEPTION_ENTRY_BYTES;
        idt[vector] = (struct long_gate){ (u16)entry, SELECTOR_CODE_64, INTERRUPT_GATE_64, (u16)(entry >> 16), 0, 0 };
    }
    write_idtr(&(struct descriptor_pointer){ sizeof idt - 1, address_of(idt) });
}

void long_leave(void)
{
    /* Clearing CR0.PG would fault with it (SDM, "Paging-Mode Enabling"). */
    write_cr4(read_cr4() & ~CR4_PCIDE);
    write_cr0(read_cr0() & ~CR0_PG);
    tss_load();
    idt_load();
    write_msr(IA32_EFER, home_efer);
    mode_leave();
}

struct trap trap_in_64(const char *body, u64 argument)
{
    long_body = address_of(body);
    long_argument = argument;
    return trap_in(long_call, 0);
}

u64 long_result(void)
{
    return long_rax;
}
