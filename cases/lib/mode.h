/* L1 in another paging mode: 32-bit or PAE paging with tables of the check's own, or none, and back.

       mode_enter((struct mode){ .cr0 = read_cr0(), .cr3 = address_of(tables.pdpt), .cr4 = CR4_PAE });
       struct trap trap = trap_in(mov_to_cr4, CR4_PAE | CR4_PGE);
       mode_leave();

   The tables must map the image itself one to one, or not even an exception is returned. Not in VMX operation, which
   fixes CR0.PG to 1: a check that needs L2 and one that goes to another mode belong in two images. Not while CR4.PCIDE
   is set. */
#pragma once

#include "types.h"

struct mode {
    u32 cr0, cr3, cr4;
};

/* Go there by way of paging off and CR4 = 0, so that nothing is left of the mode before: no TLB entry, no PDPTE
   register. */
void mode_enter(struct mode mode);

/* Go back to the mode in which the first `mode_enter` found L1, whatever registers and tables hold now. */
void mode_leave(void);

/* For `trap_in`: one MOV each. When it faults, EIP is at `mov_to_cr<n>_instruction`. */
void mov_to_cr0(u32 value);
void mov_to_cr3(u32 value);
void mov_to_cr4(u32 value);
extern const char mov_to_cr0_instruction[], mov_to_cr3_instruction[], mov_to_cr4_instruction[];
