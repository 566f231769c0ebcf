/* The extended page tables: an identity map, in which single entries are then edited. */
#pragma once

#include "types.h"

#define EPT_READ (1u << 0)
#define EPT_WRITE (1u << 1)
#define EPT_EXECUTE (1u << 2)
#define EPT_ALL (EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define EPT_WRITE_BACK (6u << 3)
#define EPT_LARGE (1u << 7)

#define EPT_SMALL_BYTES (4u << 20) /* below this, where the kit's data lies, the map is made of 4 KiB pages */

/* Make the identity map of the first GiB anew, write-back, everything allowed. */
void ept_identity(void);

/* The leaf entry that maps a page below EPT_SMALL_BYTES, to be edited; `ept_flush` before L2 runs on. */
u64 *ept_leaf(const volatile void *page);

/* Map such a page to itself with these rights only (bits of EPT_ALL; 0 makes it not present), and flush. */
void ept_protect(const volatile void *page, u32 rights);

/* Forget what the CPU has cached of the map (INVEPT). */
void ept_flush(void);

u64 ept_pointer(void);
