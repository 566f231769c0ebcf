#include "stage.h"

u8 pages[3][PAGE_SIZE] PAGE_ALIGNED;

void string_io(const struct l2_code *code, const void *data, u16 port)
{
    fill32(pages, FILL * 0x01010101u, sizeof pages / 4);
    l2_prepare(code->start);
    l2_registers.edi = l2_registers.esi = address_of(data);
    l2_registers.edx = port;
}

void must_violate_at(const struct vm_exit *exit, const struct l2_code *code, struct violation_required required)
{
    if (exit->failed_entry)
        return;
    must("exit_reason", exit->reason, EXIT_EPT_VIOLATION);
    if (exit->reason != EXIT_EPT_VIOLATION)
        return;
    u32 qualification = (u32)exit->qualification;
    must("guest_physical_address", exit->guest_physical_address, required.physical);
    must("guest_linear_address", exit->guest_linear_address, required.linear);
    must("exit_qualification_access", qualification & 7, required.access);
    must("exit_qualification_allowed", qualification >> 3 & 7, required.allowed);
    must("exit_qualification_linear_valid", qualification >> 7 & 1, 1);
    must("exit_qualification_translated", qualification >> 8 & 1, required.translated);
    must_stop_at(exit, code->start);
}

void must_have_done_nothing(const struct vm_exit *exit, const void *data, u32 count)
{
    must("esi_step", exit->registers.esi - address_of(data), 0);
    must("edi_step", exit->registers.edi - address_of(data), 0);
    must("ecx", exit->registers.ecx, count);
}

struct vm_exit resume_with(void *page)
{
    ept_protect(page, EPT_ALL);
    return l2_run();
}

void must_have_stored(const u8 *at, const void *expected, u32 bytes)
{
    const u8 *wanted = expected;
    u32 different = 0;
    for (u32 byte = 0; byte < bytes; byte++)
        different += at[byte] != wanted[byte];
    must("bytes_different", different, 0);
    must("byte_before", at[-1], FILL);
    must("byte_after", at[bytes], FILL);
    noted("first_byte", at[0]);
}
