/* The extended page tables: an identity map, in which single entries are then edited. */
#pragma once

#include "types.h"

#define EPT_READ (1u << 0)
#define EPT_WRITE (1u << 1)
#define EPT_EXECUTE (1u << 2)
#define EPT_NOTHING 0u
#define EPT_ALL (EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define EPT_MEMORY_TYPE(type) ((u32)(type) << 3)
#define EPT_WRITE_BACK EPT_MEMORY_TYPE(6)
#define EPT_LARGE (1u << 7)
#define EPT_ACCESSED (1u << 8)
#define EPT_DIRTY (1u << 9)

#define EPT_SMALL_BYTES (4u << 20) /* below this, where the kit's data lies, the map is made of 4 KiB pages */

/* An entry of the map, by what it is: each table has 512. */
enum ept_level { EPT_PTE, EPT_PDE, EPT_PDPTE, EPT_PML4E };

/* Make the identity map of the first GiB: write-back, everything allowed, without accessed and dirty flags. What
   earlier checks have edited is gone. */
void ept_identity(void);

/* The entry that a guest-physical address is translated by at this level, to be edited; call `ept_flush` before L2 runs
   on. Tables that are missing above it are added, with everything allowed. */
u64 *ept_entry(u64 guest_physical, enum ept_level level);

/* The leaf entry that maps a page below EPT_SMALL_BYTES. */
u64 *ept_leaf(const volatile void *page);

/* Map a page to a guest-physical address with these rights only (bits of EPT_ALL; EPT_NOTHING makes it not present),
   and flush. */
void ept_map(u64 guest_physical, const volatile void *page, u32 rights);

/* The same, of a page below EPT_SMALL_BYTES to itself. */
void ept_protect(const volatile void *page, u32 rights);

/* Drop what the CPU has cached of the map (INVEPT). */
void ept_flush(void);

u64 ept_pointer(void);

/* After `l2_prepare`: switch accessed and dirty flags on (bit 6 of EPTP); `skip` where the CPU has none. */
void ept_track(void);

/* Set accessed and dirty flags beforehand in all entries that translate this page: nothing is left for the CPU to
   set. */
void ept_mark_used(const volatile void *page);

/* `ept_track`, and log the pages whose dirty flag is set, from this index downwards; `skip` where the CPU cannot. */
enum { EPT_LOG_ENTRIES = 512, EPT_LOG_FULL = 0xFFFF };
extern u64 ept_log[EPT_LOG_ENTRIES];
void ept_log_from(u32 index);
