/* What a case can be heard on: COM1 or, when the tester asks for it, the RAM log; and the 80x25 text screen. Rows and columns
   count from 0. */
#pragma once

#include "types.h"

/* `in_ram` is whether what is said goes to the RAM log, and not to COM1. */
void console_start(bool in_ram);

/* A sign of life on COM1, when all else goes to the RAM log. */
void console_dot(void);

/* From here on what is said goes to COM1 in any case: the last words, which end the boot. */
void console_aloud(void);

/* Print a line. Knows %s, %u, %#x (u32) and %#llx (u64). What is said goes out when its line ends. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Put a word on the screen. */
void show(unsigned row, unsigned column, const char *word);
