/* What a case can be heard on: COM1, and the 80x25 text screen. Rows and columns count from 0. */
#pragma once

#include "types.h"

void console_start(void);

/* Print to COM1. Knows %s, %u, %#x (u32) and %#llx (u64). What is said goes out when its line ends. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Put a word on the screen. */
void show(unsigned row, unsigned column, const char *word);
