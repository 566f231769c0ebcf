/* The PC's interrupt controllers (8259) and counter 0 of its timer (8254), which is interrupt line 0. */
#pragma once

#include "types.h"

enum { PIC_VECTORS = 0x20, PIC_TIMER = 0 };

/* Start both controllers over, with all lines masked: lines 0 to 7 have the vectors from PIC_VECTORS on, and what the
   firmware left pending is forgotten. */
void pic_start(void);

/* Let one of lines 0 to 7 through; 8 lets none. */
void pic_allow(u32 line);

/* Tell the first controller that its interrupt has been handled. */
void pic_end(void);

/* Counter 0 counts down once and raises its line after `ticks` of 1/1193182 s, at most PIT_LONGEST (0, 55 ms). */
enum { PIT_LONGEST = 0 };
void pit_once(u32 ticks);

/* Counter 0 stands still with its line low, until the next `pit_once`. */
void pit_stop(void);
