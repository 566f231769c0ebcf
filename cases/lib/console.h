/* What a case can be heard on: COM1, and the 80x25 text screen. Rows and columns count from 0. */
#pragma once

#include "types.h"

void console_start(void);

/* Print to COM1. Knows %s, %d (decimal), %x (hexadecimal, 0x in front) and %X (the same, of a u64). */
void say(const char *format, ...);

void show(unsigned row, unsigned column, const char *word);
