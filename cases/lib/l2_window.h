/* One 4 KiB page for L2 at a linear address of its own, in each of the three paging modes. The entries that translate
   it lie in pages of their own, all but that of the highest level: EPT can protect each level, and the page, apart from
   the code and data that L2 uses besides.

       l2_prepare(NULL);
       l2_window_use(PAGING_PAE);
       ept_protect(l2_window_table(LEVEL_PDE), EPT_NOTHING);
       struct vm_exit exit = l2_window_access(L2_READ);
       must_violate(&exit, violation_of_entry(VIOLATION_READ, EPT_NOTHING, l2_window_slot(LEVEL_PDE),
                                              l2_window_linear(L2_READ)));
       saw_exit(&exit, l2_window_instruction(L2_READ));

   With 4-level paging L2 runs 64-bit code, and the window has a PML4E of its own. */
#pragma once

#include "ept.h"
#include "ept_exit.h"
#include "l2.h"
#include "window.h"

extern u8 l2_window_page[PAGE_SIZE];

/* A prepared L2 in this paging mode. All entries of the window are present, writable, for user and supervisor, and have
   accessed and dirty flags set; EPT maps the page one to one. */
void l2_window_use(enum paging paging);

/* The highest level whose table is the window's own. */
enum level l2_window_top(enum paging paging);

/* Of the entry at this level: its page, its guest-physical address, and the entry itself. */
void *l2_window_table(enum level level);
u64 l2_window_slot(enum level level);
u64 l2_window_entry(enum level level);
void l2_window_set(enum level level, u64 entry);

/* The window's PTE leads to another guest-physical address; the second has EPT map it to the page. */
void l2_window_point(u64 guest_physical);
void l2_window_move(u64 guest_physical);

/* What L2 does to the window: each is one instruction, which a fault leaves RIP at. The fetch is that of a RET. A
   hypervisor below L1 may make the accesses of INSB and OUTSB itself; L1 does not intercept their ports. */
enum l2_access { L2_READ, L2_WRITE, L2_FETCH, L2_MODIFY, L2_ACCESSES, L2_INS = L2_ACCESSES, L2_OUTS };
struct vm_exit l2_window_access(enum l2_access access);
struct vm_exit l2_window_turn(enum l2_access access); /* by `l2_run_briefly` */
u64 l2_window_linear(enum l2_access access); /* the address that it accesses */
const void *l2_window_instruction(enum l2_access access);

/* What comes of this access where EPT has these rights for the page, `base` its guest-physical address; or for the page
   of the entry at this level, while all flags are set in the entry and EPT has none. */
struct ept_exit l2_window_outcome(enum l2_access access, u32 rights, u64 base);
struct ept_exit l2_walk_outcome(enum l2_access access, u32 rights, enum level level);
