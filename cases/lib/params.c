#include "params.h"

#include "ram_log.h"

extern const char kit_checks[]; /* an address that is the number of checks: kit.ld */

__attribute__((section(".params"), used)) static volatile struct {
    char magic[16];
    u32 version;
    const char *count;
    u8 selected[MOST_CHECKS / 8]; /* a bit for each check */
    u32 in_ram;
    const struct ram_log *log;
    u32 log_bytes;
} params = { "DIFFTEST-PARAMS", 2, kit_checks, { [0 ... MOST_CHECKS / 8 - 1] = 0xFF }, false, &ram_log, RAM_LOG_BYTES };

bool params_select(u32 number)
{
    return params.selected[number / 8] >> number % 8 & 1;
}

bool params_ask_for_ram_log(void)
{
    return params.in_ram;
}
