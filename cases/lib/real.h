/* L1 in real-address mode. */
#pragma once

#include "trap.h"
#include "types.h"

/* Run `body`, 16-bit code that ends with a far RET, in real-address mode with EAX = `argument` and CR4 as it is. It may
   change all general registers but ESP; changes to CR0 are undone. Exceptions are returned as by `trap_in`, EIP as a
   linear address; real-address mode has no error codes. Segments keep their 4 GiB limits. */
struct trap trap_in_real(const char *body, u32 argument);
u32 real_result(void); /* EAX at the RET of the last body that reached it */
