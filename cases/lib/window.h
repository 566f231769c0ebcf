/* One 4 KiB page at a linear address of its own, in each of the three paging modes, with every entry that translates it
   under the check's control. The rest is mapped one to one.

       window_enter(PAGING_PAE, PTE_USER | PTE_WRITABLE | PTE_PRESENT);
       window_set(LEVEL_PDE, window_entry(LEVEL_PDE) & ~(u64)PTE_WRITABLE);
       window_flush();
       write_cr0(read_cr0() | CR0_WP);
       struct trap trap = window_access(ACCESS_WRITE);
       window_leave();
*/
#pragma once

#include "paging.h"
#include "trap.h"
#include "types.h"

enum paging { PAGING_32_BIT, PAGING_PAE, PAGING_4_LEVEL };
enum level { LEVEL_PTE, LEVEL_PDE, LEVEL_PDPTE, LEVEL_PML4E };
/* Those after the first three are instructions that a hypervisor below L1 may execute in the CPU's stead, and then it
   walks L1's tables itself: INSB and OUTSB, and in VMX operation VMPTRST and VMREAD, which write, and INVEPT, which
   reads. */
enum access {
    ACCESS_READ,
    ACCESS_WRITE,
    ACCESS_FETCH,
    ACCESS_INS,
    ACCESS_OUTS,
    ACCESS_VMPTRST,
    ACCESS_VMREAD,
    ACCESS_INVEPT,
};

/* Go to a paging mode with new tables, `rights` in the entry of each level. CR0.WP and all of CR4 but PSE or PAE are 0;
   set more of both then. 4-level paging needs FEATURE_LONG_MODE, and C code runs in compatibility mode. */
void window_enter(enum paging paging, u64 rights);
void window_leave(void);

/* The number of levels that have rights: a PDPTE of PAE paging has none. */
u32 window_levels(enum paging paging);

/* The entries, as they are in memory. The CPU may use what it read before until `window_flush`, a MOV to CR3. */
void window_rights(u64 rights); /* new entries, as `window_enter` makes them */
u64 window_entry(enum level level);
void window_set(enum level level, u64 entry);
void window_flush(void);

/* The page's linear address, and the page itself. Its first byte is a RET: what ACCESS_FETCH runs. */
u64 window_address(void);
extern u8 window_page[PAGE_SIZE];

/* Read a word of the page, write one, call its first byte, move a byte from or to a port without side effects, or have
   a VMX instruction access its operand there; in 4-level paging from 64-bit mode. */
struct trap window_access(enum access access);
