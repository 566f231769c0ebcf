#include "real.h"

#include "cpu.h"
#include "mode.h"

extern const char real_code[], real_entries[], in_real_mode[];
void real_call(u32 argument);

/* Real-mode pointers: an offset below 16 with the segment that goes with it, or one from `real_code` on. */
struct far_pointer {
    u16 offset, segment;
};

/* Read and written by real_entry.S. */
u32 real_eax;
struct far_pointer real_body, real_start;
static struct far_pointer vectors[EXCEPTIONS];
struct descriptor_pointer real_idt = { sizeof vectors - 1, 0 };

static u32 base(void)
{
    return address_of(real_code) & ~15u;
}

static struct far_pointer in_code(u32 address)
{
    return (struct far_pointer){ (u16)(address - base()), (u16)(base() >> 4) };
}

struct trap trap_in_real(const char *body, u32 argument)
{
    for (u32 vector = 0; vector < EXCEPTIONS; vector++)
        vectors[vector] = in_code(address_of(real_entries) + vector * EXCEPTION_ENTRY_BYTES);
    real_idt.base = address_of(vectors);
    real_start = in_code(address_of(in_real_mode));
    real_body = (struct far_pointer){ address_of(body) & 15, (u16)(address_of(body) >> 4) };
    /* 16-bit code at `base`, 64 KiB: the step between protected and real-address mode. */
    gdt_write(SELECTOR_SPARE, (u64)0x9B << 40 | (u64)base() << 16 | 0xFFFF);
    mode_enter((struct mode){ read_cr0() & ~CR0_PG, read_cr3(), read_cr4() });
    struct trap trap = trap_in(real_call, argument);
    mode_leave();
    return trap;
}

u32 real_result(void)
{
    return real_eax;
}
