#include "msr_bitmap.h"

#include "cpu.h"
#include "vmcs.h"

enum { RANGE_BYTES = 1024, WRITES = 2048, RANGE = 0x2000 };
#define HIGH_RANGE 0xC0000000u

static u8 bitmap[PAGE_SIZE] PAGE_ALIGNED;

void msr_bitmap_use(void)
{
    fill32(bitmap, 0, sizeof bitmap / 4);
    vmcs_write64(MSR_BITMAPS_ADDRESS, address_of(bitmap));
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, USE_MSR_BITMAPS, "no MSR bitmaps");
}

void msr_bitmap_set(u32 msr, enum msr_access access, bool exits)
{
    u32 offset = (msr >= HIGH_RANGE ? RANGE_BYTES : 0) + (access == MSR_WRITE ? WRITES : 0);
    u8 *byte = &bitmap[offset + msr % RANGE / 8];
    u8 bit = (u8)(1 << msr % 8);
    *byte = (u8)(exits ? *byte | bit : *byte & ~bit);
}
