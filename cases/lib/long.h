/* L1 in IA-32e mode, with 4-level paging, and back.

       if (lacks(FEATURE_LONG_MODE))
           return;
       long_enter();
       struct trap trap = trap_in_64(clear_pg, read_cr0() & ~CR0_PG);
       saw("efer", read_msr(IA32_EFER));
       long_leave();

   Between the two, C code runs in compatibility mode and `trap_in` works as everywhere; 64-bit code is assembly of the
   check's own (`.code64`) that ends with RET. The low 4 GiB are mapped one to one. */
#pragma once

#include "trap.h"
#include "types.h"

/* One MOV to CR0 away from IA-32e mode: paging off, CR4.PAE and EFER.LME set, CR3 at the PML4 table. */
void long_stage(void);
void long_enter(void);

/* Back to where the first of the two found L1, whatever has become of control registers and EFER since. */
void long_leave(void);

/* Run `body` in 64-bit mode with RAX = `argument`; EBX, ESI, EDI, EBP and RSP are its to keep. */
struct trap trap_in_64(const char *body, u64 argument);
u64 long_result(void); /* RAX at the RET of the last body that came to it */

/* The PML4 table, all of whose entries but the first are free. */
extern u64 long_pml4[512];
