/* A case's output: COM1 or, when the tester asks for it, the RAM log; and the 80x25 text screen. Rows and columns count
   from 0. */
#pragma once

#include "types.h"

/* `in_ram`: lines go to the RAM log and not to COM1. */
void console_start(bool in_ram);

/* Send a sign of life to COM1, when all else goes to the RAM log. */
void console_dot(void);

/* Send all further lines to COM1 in any case: the last line, which ends the boot. */
void console_aloud(void);

/* Print. Knows %s, %u, %#x (u32) and %#llx (u64). The text is sent when its line ends. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Put a word on the screen. */
void show(unsigned row, unsigned column, const char *word);
