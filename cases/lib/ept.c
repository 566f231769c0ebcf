#include "ept.h"

#include "vmx.h"

enum { ENTRIES = 512, SMALL_TABLES = EPT_SMALL_BYTES >> 21 };
enum { WALK_LENGTH_4 = 3 << 3, POINTER_WRITE_BACK = 6 };
#define CAPABILITY_INVEPT ((u64)1 << 20)
#define CAPABILITY_SINGLE_CONTEXT ((u64)1 << 25)

static u64 pml4[ENTRIES] PAGE_ALIGNED, pdpt[ENTRIES] PAGE_ALIGNED, directory[ENTRIES] PAGE_ALIGNED;
static u64 tables[SMALL_TABLES][ENTRIES] PAGE_ALIGNED;

void ept_identity(void)
{
    pml4[0] = address_of(pdpt) | EPT_ALL;
    pdpt[0] = address_of(directory) | EPT_ALL;
    for (u32 entry = 0; entry < ENTRIES; entry++)
        directory[entry] = entry << 21 | EPT_LARGE | EPT_WRITE_BACK | EPT_ALL;
    for (u32 table = 0; table < SMALL_TABLES; table++) {
        directory[table] = address_of(tables[table]) | EPT_ALL;
        for (u32 entry = 0; entry < ENTRIES; entry++)
            tables[table][entry] = (table * ENTRIES + entry) * PAGE_SIZE | EPT_WRITE_BACK | EPT_ALL;
    }
}

u64 *ept_leaf(const volatile void *page)
{
    u32 number = address_of(page) / PAGE_SIZE;
    return &tables[number / ENTRIES][number % ENTRIES];
}

u64 ept_pointer(void)
{
    return address_of(pml4) | WALK_LENGTH_4 | POINTER_WRITE_BACK;
}

void ept_flush(void)
{
    u64 capabilities = ept_capabilities();
    struct {
        u64 pointer, zero;
    } descriptor = { ept_pointer(), 0 };
    if (!(capabilities & CAPABILITY_INVEPT))
        return;
    u32 type = capabilities & CAPABILITY_SINGLE_CONTEXT ? 1 : 2;
    asm volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}
