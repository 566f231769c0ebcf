#include "ram_log.h"

__attribute__((section(".ram_log"))) struct ram_log ram_log;

void ram_log_start(void)
{
    static const char magic[sizeof ram_log.magic] = "DIFFTEST-RAMLOG";
    ram_log.written = 0;
    for (u32 at = 0; at < sizeof magic; at++)
        ram_log.magic[at] = magic[at];
}

void ram_log_add(const char *bytes, u32 count)
{
    for (; count && ram_log.written < sizeof ram_log.lines; count--)
        ram_log.lines[ram_log.written++] = *bytes++;
}
