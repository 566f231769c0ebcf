/* L1 code at CPL 3, in 32-bit code. */
#pragma once

#include "trap.h"
#include "types.h"

/* Run the code at `eip`, with EAX = `argument` and no stack, until it faults. User mode must be allowed to fetch from
   the page. HLT, which faults at CPL 3, is a good last instruction: #GP(0) at its address. */
struct trap trap_in_user(u32 eip, u32 argument);
