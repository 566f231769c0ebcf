/* L1 code at CPL 3, in 32-bit code. */
#pragma once

#include "trap.h"
#include "types.h"

/* Run the code at `eip`, with EAX = `argument` and no stack, until it faults. The page must be one that user mode may fetch
   from. HLT, which CPL 3 may not, is a good last instruction: #GP(0) at its address. */
struct trap trap_in_user(u32 eip, u32 argument);
