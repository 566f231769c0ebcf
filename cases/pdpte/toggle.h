/* MOV to CR0 or CR4 in PAE paging, with a changed PDPTE in memory: was it loaded? */
#pragma once

#include "types.h"

/* The bits that one MOV toggles, of CR0 or of CR4, and those of CR0 that must be set for it to be allowed. */
struct toggle {
    u32 cr0, cr4, with_cr0;
};

/* Setting and clearing the bits loads the PDPTEs: a sound one takes effect, one with a reserved bit causes #GP(0),
   which leaves control register and PDPTE registers alone. */
void must_load(struct toggle toggle);

/* Setting and clearing the bits works, and what PDPTE lies in memory does not matter. */
void must_not_load(struct toggle toggle);
