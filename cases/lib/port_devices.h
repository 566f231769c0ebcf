/* Devices that a PC has and whose ports give data that L1 can foretell: for IN, INS, OUT and OUTS. */
#pragma once

#include "types.h"

/* The keyboard controller (8042). `keyboard_ask` puts its command byte into the output buffer, which stays full until
   port KEYBOARD_DATA is read; `keyboard_answer` is what that read gives. */
enum { KEYBOARD_DATA = 0x60, KEYBOARD_STATUS = 0x64 };
void keyboard_ask(void);
bool keyboard_full(void);
u8 keyboard_answer(void);

/* Counter 2 of the timer (8254), whose status is latched: the next read of PIT_COUNTER gives PIT_STATUS in bits 5:0,
   and each later one the count, which has other bits there for some milliseconds. */
enum { PIT_COUNTER = 0x42, PIT_STATUS = 0x20, PIT_STATUS_BITS = 0x3F };
void pit_latch_status(void);

/* The first IDE disk, with DISK_WORDS words of its IDENTIFY data to be read from DISK_DATA. `disk_ask` is `skip` where
   there is none. `disk_answer` reads all of them once, to compare with; `disk_wants` is whether words are left. */
enum { DISK_DATA = 0x1F0, DISK_WORDS = 256 };
void disk_ask(void);
bool disk_wants(void);
const u16 *disk_answer(void);

/* A port of the PC's that stores nothing anybody looks at, for OUT. */
enum { POST_PORT = 0x80 };
