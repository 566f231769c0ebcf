/* Rows L1-19 and L1-22: 4 MiB pages and global pages. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "mode.h"
#include "window.h"

#define TABLE_4_MIB                        \
    "32-Bit Paging (Vol. 3, 4.3), table "  \
    "\"Format of a 32-Bit Page-Directory Entry that Maps a 4-MByte Page\""
#define INVALIDATION "Operations that Invalidate TLBs and Paging-Structure Caches (Vol. 3, 4.10.4.1)"

enum { LARGE_PAGE = PTE_LARGE | PTE_WRITABLE | PTE_PRESENT };

/* Bits 21:13 of an entry for a 4 MiB page that are reserved: 20:13 hold address bits 39:32, as far as PSE-36 and
   MAXPHYADDR go; 21 always is. */
static u32 reserved_bits(void)
{
    u32 width = has(FEATURE_PSE36) ? physical_address_bits() : 32;
    u32 address_bits = width > 40 ? 8 : width - 32;
    return 0x3FE000 & ~(((1u << address_bits) - 1) << 13);
}

/* Which of bits 21:13 make a read through a 4 MiB page fault with this error code; shifted up by 10 those that fault
   else. */
static u32 faulting(u32 error_code)
{
    u32 bits = 0;
    window_enter(PAGING_32_BIT, PTE_PRESENT);
    for (u32 bit = 1u << 13; bit <= 1u << 21; bit <<= 1) {
        window_set(LEVEL_PDE, LARGE_PAGE | bit);
        window_flush();
        struct trap trap = window_access(ACCESS_READ);
        if (trap.taken)
            bits |= trap.vector == VECTOR_PF && trap.error_code == error_code ? bit : bit << 10;
    }
    window_leave();
    return bits;
}

CHECK(large_reserved, "L1-19/reserved", NEEDS_NOTHING, TABLE_4_MIB,
      "A read through a 4 MiB page causes #PF with RSVD for each reserved bit among 21:13, and for no address bit")
{
    need(FEATURE_PSE);
    u32 reserved = reserved_bits(), faults = faulting(PF_PRESENT | PF_RESERVED);
    noted("reserved_bits", reserved);
    must("wrongly_accepted", reserved & ~faults, 0);
    must("wrongly_refused", faults & ~reserved, 0);
}

CHECK(large_control, "L1-19/control", NEEDS_NOTHING, TABLE_4_MIB,
      "Control: a read through a 4 MiB page without reserved bits returns what is there")
{
    need(FEATURE_PSE);
    u8 *byte = &window_page[16];
    window_enter(PAGING_32_BIT, PTE_PRESENT);
    *byte = 0x5A;
    window_set(LEVEL_PDE, LARGE_PAGE);
    window_flush();
    u8 seen = *(volatile u8 *)((u32)window_address() + address_of(byte)); /* the page is the one at address 0 */
    window_leave();
    must("byte", seen, 0x5A);
}

static u8 other_page[PAGE_SIZE] PAGE_ALIGNED;

static u8 through_window(void)
{
    return *(volatile u8 *)((u32)window_address() + 16);
}

enum { OLD = 0x0D, NEW = 0x3E };

static void nothing(u32 argument)
{
    (void)argument;
}

/* Let the CPU see the window's page, map another page there in memory alone, then do what may invalidate the
   translation: which of the two is seen then? */
static u8 page_seen_after(void (*body)(u32 argument), u32 cr4, u32 argument, u32 global)
{
    window_page[16] = OLD;
    other_page[16] = NEW;
    window_enter(PAGING_32_BIT, PTE_WRITABLE | PTE_PRESENT);
    window_set(LEVEL_PTE, window_entry(LEVEL_PTE) | global);
    write_cr4(CR4_PSE | cr4);
    bool right_before = through_window() == OLD;
    window_set(LEVEL_PTE, address_of(other_page) | global | PTE_WRITABLE | PTE_PRESENT);
    trap_in(body, argument ? argument : read_cr3());
    u8 seen = through_window();
    window_leave();
    must("page_before", right_before ? OLD : 0, OLD);
    return seen;
}

/* What invalidates a translation shows only on a CPU that would still use it otherwise, which none must. */
static void must_invalidate(void (*body)(u32 argument), u32 cr4, u32 argument, u32 global)
{
    need(FEATURE_PGE);
    if (page_seen_after(nothing, cr4, 0, global) != OLD)
        skip("this CPU does not keep the translation");
    must("page_after", page_seen_after(body, cr4, argument, global), NEW);
}

CHECK(cr3_flushes, "L1-22/mov-cr3-not-global", NEEDS_NOTHING, INVALIDATION,
      "MOV to CR3 with CR4.PGE=1 invalidates the translation of a page that is not global")
{
    must_invalidate(mov_to_cr3, CR4_PGE, 0, 0);
}

/* The CPU may keep the translation, and need not. */
CHECK(cr3_keeps, "L1-22/mov-cr3-global", NEEDS_NOTHING, INVALIDATION,
      "MOV to CR3 with CR4.PGE=1 leaves or invalidates the translation of a global page")
{
    need(FEATURE_PGE);
    u8 seen = page_seen_after(mov_to_cr3, CR4_PGE, 0, PTE_GLOBAL);
    must("old_or_new", seen == OLD || seen == NEW, true);
    noted("page_after", seen);
    leave_open();
}

CHECK(pge_cleared, "L1-22/pge-cleared", NEEDS_NOTHING, INVALIDATION,
      "MOV to CR4 that clears PGE invalidates the translation of a global page")
{
    must_invalidate(mov_to_cr4, CR4_PGE, CR4_PSE, PTE_GLOBAL);
}

CHECK(pge_set, "L1-22/pge-set", NEEDS_NOTHING, INVALIDATION,
      "MOV to CR4 that sets PGE invalidates the translation of a page that is marked global")
{
    must_invalidate(mov_to_cr4, 0, CR4_PSE | CR4_PGE, PTE_GLOBAL);
}
