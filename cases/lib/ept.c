#include "ept.h"

#include "outcome.h"
#include "vmx.h"

enum { ENTRIES = 512, SMALL_TABLES = EPT_SMALL_BYTES >> 21, SPARE_TABLES = 8 };
enum { WALK_LENGTH_4 = 3 << 3, POINTER_WRITE_BACK = 6, POINTER_ACCESSED_DIRTY = 1 << 6 };
enum { SINGLE_CONTEXT = 1, ALL_CONTEXTS = 2 };
#define ADDRESS_BITS 0x000FFFFFFFFFF000u

static u64 pml4[ENTRIES] PAGE_ALIGNED, pdpt[ENTRIES] PAGE_ALIGNED, directory[ENTRIES] PAGE_ALIGNED;
static u64 tables[SMALL_TABLES][ENTRIES] PAGE_ALIGNED;
static u64 spare[SPARE_TABLES][ENTRIES] PAGE_ALIGNED; /* for what checks map beside the identity map */
static u32 spares_used, tracking;
u64 ept_log[EPT_LOG_ENTRIES] PAGE_ALIGNED;

/* A hypervisor below L1 may write-protect these pages, and each write is then an exit: write only what differs. */
static void set(u64 *entry, u64 value)
{
    if (*entry != value)
        *entry = value;
}

static void clear(u64 *from, const u64 *end)
{
    while (from < end)
        set(from++, 0);
}

void ept_identity(void)
{
    set(&pml4[0], address_of(pdpt) | EPT_ALL);
    clear(&pml4[1], pml4 + ENTRIES);
    set(&pdpt[0], address_of(directory) | EPT_ALL);
    clear(&pdpt[1], pdpt + ENTRIES);
    clear(spare[0], spare[spares_used]);
    spares_used = tracking = 0;
    for (u32 entry = 0; entry < SMALL_TABLES; entry++)
        set(&directory[entry], address_of(tables[entry]) | EPT_ALL);
    for (u32 entry = SMALL_TABLES; entry < ENTRIES; entry++)
        set(&directory[entry], entry << 21 | EPT_LARGE | EPT_WRITE_BACK | EPT_ALL);
    for (u32 page = 0; page < SMALL_TABLES * ENTRIES; page++)
        set(&tables[page / ENTRIES][page % ENTRIES], page * PAGE_SIZE | EPT_WRITE_BACK | EPT_ALL);
}

u64 *ept_entry(u64 guest_physical, enum ept_level level)
{
    u64 *table = pml4;
    for (enum ept_level at = EPT_PML4E;; at--) {
        u64 *entry = &table[guest_physical >> (12 + 9 * at) & (ENTRIES - 1)];
        if (at == level)
            return entry;
        if (*entry & EPT_LARGE)
            misused("ept_entry: this address is mapped by a large entry");
        if (!*entry) {
            if (spares_used == SPARE_TABLES)
                misused("ept_entry: no spare table is left");
            *entry = address_of(spare[spares_used++]) | EPT_ALL;
        }
        table = (u64 *)(u32)(*entry & ADDRESS_BITS);
    }
}

u64 *ept_leaf(const volatile void *page)
{
    return ept_entry(address_of(page), EPT_PTE);
}

void ept_map(u64 guest_physical, const volatile void *page, u32 rights)
{
    u64 frame = address_of(page) & ADDRESS_BITS;
    *ept_entry(guest_physical, EPT_PTE) = rights ? frame | EPT_WRITE_BACK | rights : 0;
    ept_flush();
}

void ept_protect(const volatile void *page, u32 rights)
{
    ept_map(address_of(page), page, rights);
}

u64 ept_pointer(void)
{
    return address_of(pml4) | WALK_LENGTH_4 | POINTER_WRITE_BACK | tracking;
}

void ept_track(void)
{
    if (!(ept_capabilities() & EPT_CAPABILITY_ACCESSED_DIRTY))
        skip("no accessed and dirty flags for EPT");
    tracking = POINTER_ACCESSED_DIRTY;
    vmcs_write64(EPT_POINTER, ept_pointer());
}

void ept_mark_used(const volatile void *page)
{
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++) {
        u64 *entry = ept_entry(address_of(page), level);
        set(entry, *entry | EPT_ACCESSED | (level == EPT_PTE ? EPT_DIRTY : 0));
    }
    ept_flush();
}

void ept_log_from(u32 index)
{
    ept_track();
    clear(ept_log, ept_log + EPT_LOG_ENTRIES);
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_PML, "no page-modification logging");
    vmcs_write64(PML_ADDRESS, address_of(ept_log));
    vmcs_write(GUEST_PML_INDEX, index);
}

void ept_flush(void)
{
    u32 type = ept_capabilities() & EPT_CAPABILITY_INVEPT_SINGLE ? SINGLE_CONTEXT : ALL_CONTEXTS;
    vmx_invept(type, &(struct invept_descriptor){ ept_pointer(), 0 });
}
