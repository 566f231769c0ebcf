#include "paging.h"

#include "cpu.h"
#include "feature.h"

static u32 directory[1024] PAGE_ALIGNED;

void identity_32_bit(u32 directory[1024])
{
    for (u32 entry = 0; entry < 1024; entry++)
        directory[entry] = entry << 22 | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
}

void paging_start(void)
{
    identity_32_bit(directory);
    write_cr3(address_of(directory));
    write_cr4(read_cr4() | CR4_PSE);
    /* Caches on: firmware leaves CD and NW in different states, and neither VM entry nor exit changes them. */
    write_cr0((read_cr0() & ~(CR0_CD | CR0_NW)) | CR0_PG | CR0_NE);
}

const char *pae_lacking(void)
{
    return has(FEATURE_PAE) ? NULL : FEATURE_PAE.absent;
}

const char *pdpte_registers_lacking(void)
{
    const char *not_intel = intel_lacking();
    return not_intel ? not_intel : pae_lacking();
}

u32 physical_address_bits(void)
{
    return cpuid(0x80000000).eax >= 0x80000008 ? cpuid(0x80000008).eax & 0xFF : 36;
}

u64 pdpte_reserved(void)
{
    return ~(((u64)1 << physical_address_bits()) - 1) | 0x1E6;
}

void pae_identity(struct pae_tables *tables)
{
    for (u32 entry = 0; entry < ARRAY_SIZE(tables->pdpt); entry++)
        tables->pdpt[entry] = 0;
    for (u32 quarter = 0; quarter < ARRAY_SIZE(tables->directories); quarter++) {
        u64 *directory = tables->directories[quarter];
        /* A PDPTE has no writable bit: bits 2:1 are reserved (SDM, "PDPTE Registers"). */
        tables->pdpt[quarter] = address_of(directory) | PTE_PRESENT;
        for (u32 entry = 0; entry < 512; entry++)
            directory[entry] = quarter << 30 | entry << 21 | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
    }
}
