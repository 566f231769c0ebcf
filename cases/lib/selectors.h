/* L1's segment selectors, for C and assembly. */
#pragma once

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS 0x18
#define SELECTOR_SPARE 0x20         /* a check's own */
#define SELECTOR_CODE_64 0x28       /* L=1, D=0 */
#define SELECTOR_USER_CODE 0x33     /* with RPL 3 */
#define SELECTOR_USER_DATA 0x3B
#define SELECTOR_HIGH_CODE 0x40     /* base 3 GiB: transition.c */
#define SELECTOR_HIGH_DATA 0x48
#define SELECTOR_TASKS 0x80         /* and up: task.h */
