/* L1 in real-address mode. */
#pragma once

#include "trap.h"
#include "types.h"

/* Run `body`, 16-bit code that ends with a far RET, in real-address mode with EAX = `argument`. Exceptions come back as from
   `trap_in`, EIP as a linear address; there are no error codes there. Segments keep their 4 GiB limits. */
struct trap trap_in_real(const char *body, u32 argument);
