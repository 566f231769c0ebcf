#include "ept.h"

#include "check.h"
#include "vmx.h"

enum { ENTRIES = 512, SMALL_TABLES = EPT_SMALL_BYTES >> 21 };
enum { WALK_LENGTH_4 = 3 << 3, POINTER_WRITE_BACK = 6, SINGLE_CONTEXT = 1, ALL_CONTEXTS = 2 };

static u64 pml4[ENTRIES] PAGE_ALIGNED, pdpt[ENTRIES] PAGE_ALIGNED, directory[ENTRIES] PAGE_ALIGNED;
static u64 tables[SMALL_TABLES][ENTRIES] PAGE_ALIGNED;

/* A hypervisor below us may watch these pages, and each write is then an exit: write only what differs. */
static void set(u64 *entry, u64 value)
{
    if (*entry != value)
        *entry = value;
}

void ept_identity(void)
{
    set(&pml4[0], address_of(pdpt) | EPT_ALL);
    set(&pdpt[0], address_of(directory) | EPT_ALL);
    for (u32 entry = 0; entry < SMALL_TABLES; entry++)
        set(&directory[entry], address_of(tables[entry]) | EPT_ALL);
    for (u32 entry = SMALL_TABLES; entry < ENTRIES; entry++)
        set(&directory[entry], entry << 21 | EPT_LARGE | EPT_WRITE_BACK | EPT_ALL);
    for (u32 page = 0; page < SMALL_TABLES * ENTRIES; page++)
        set(&tables[page / ENTRIES][page % ENTRIES], page * PAGE_SIZE | EPT_WRITE_BACK | EPT_ALL);
}

u64 *ept_leaf(const volatile void *page)
{
    u32 number = address_of(page) / PAGE_SIZE;
    if (number >= SMALL_TABLES * ENTRIES)
        give_up("ept_leaf: this page is mapped by a large entry");
    return &tables[number / ENTRIES][number % ENTRIES];
}

void ept_protect(const volatile void *page, u32 rights)
{
    *ept_leaf(page) = rights ? (address_of(page) & ~(PAGE_SIZE - 1)) | EPT_WRITE_BACK | rights : 0;
    ept_flush();
}

u64 ept_pointer(void)
{
    return address_of(pml4) | WALK_LENGTH_4 | POINTER_WRITE_BACK;
}

void ept_flush(void)
{
    struct {
        u64 pointer, zero;
    } descriptor = { ept_pointer(), 0 };
    u32 type = ept_capabilities() & EPT_CAPABILITY_INVEPT_SINGLE ? SINGLE_CONTEXT : ALL_CONTEXTS;
    asm volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}
