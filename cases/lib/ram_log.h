/* Lines that are left in memory for the tester to read after the boot: under KVM each byte on COM1 is a VM exit. The
   log has a fixed address above the kit's data, and is not cleared: what was written last is there however the guest
   died. */
#pragma once

#include "types.h"

enum { RAM_LOG_BYTES = 0x80000 };

struct ram_log {
    char magic[16];
    u32 written;
    char lines[RAM_LOG_BYTES - 20];
};
_Static_assert(sizeof(struct ram_log) == RAM_LOG_BYTES, "the tester reads the log by this layout");

extern struct ram_log ram_log;

void ram_log_start(void);

/* What does not fit is dropped: the tester then misses records, and reports that. */
void ram_log_add(const char *bytes, u32 count);
