/* Real-address mode for L1: a few instructions of 16-bit code, and back. */
#pragma once

#include "trap.h"

/* Call 16-bit `code`, which lies in section .text.real and ends with a near return, with CR0.PE = CR0.PG = 0 and CR4 as it is;
   an exception in it ends it and is told in the answer (real-address mode has no error codes). It must leave the CPU outside
   VMX operation, and may change all general registers. */
struct trap trap_in_real_mode(const char *code);
