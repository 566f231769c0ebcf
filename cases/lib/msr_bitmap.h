/* The MSR bitmaps of L2: one page, where 1 makes RDMSR or WRMSR of an MSR exit. */
#pragma once

#include "types.h"

enum msr_access { MSR_READ, MSR_WRITE };

/* All bits are clear, and L2 uses them: no access of an MSR of the two ranges exits. */
void msr_bitmap_use(void);

/* Set or clear the bit of an MSR in one of the ranges 0 to 1FFFH and C0000000H to C0001FFFH. */
void msr_bitmap_set(u32 msr, enum msr_access access, bool exits);
