/* String I/O of an L2 with 32-bit paging, through a page table of its own: linear PAGED is the target page. */
#pragma once

#include "stage.h"

enum { PAGED = 0x40000000 };
enum violated { THE_PAGE, THE_TABLE };

/* The page table: `PAGED` is its first page, and the page after it is writable memory, too. All its entries are
   accessed and dirty. */
extern u32 its_table[1024];

/* `string_io` with EDI and ESI at PAGED. */
void paged_string_io(const struct l2_code *code, u16 port);
