/* Exceptions in L1: captured when they are expected, told and fatal when not. */
#pragma once

#include "types.h"

struct trap {
    bool taken;
    u32 vector;
    u32 error_code; /* 0 for vectors that have none */
    u32 eip;
    u32 cr2;
};

void trap_start(void);

/* Call `body` with `argument`; an exception in it ends it and is told in the answer. */
struct trap trap_in(void (*body)(u32 argument), u32 argument);

enum { SELECTOR_CODE = 0x08, SELECTOR_DATA = 0x10, SELECTOR_TSS = 0x18 };
u32 tss_address(void);

/* An IDT of interrupt gates, for L1 and for L2. The entries lie one behind the other, EXCEPTION_ENTRY_BYTES apart. */
enum { EXCEPTIONS = 32, EXCEPTION_ENTRY_BYTES = 16 };
struct gate {
    u16 offset_low, selector, attributes, offset_high;
};
void idt_fill(struct gate idt[EXCEPTIONS], const char *entries);
