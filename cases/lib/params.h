/* The parameter block, which the tester finds in the image by its first 16 bytes and edits before a boot. */
#pragma once

#include "types.h"

enum { MOST_CHECKS = 512 };

/* Whether the check with this number is to run. */
bool params_select(u32 number);

/* Whether lines go to the RAM log instead of COM1. */
bool params_ask_for_ram_log(void);
