#include "trap.h"

#include "cpu.h"
#include "outcome.h"
#include "record.h"

enum { INTERRUPT_GATE = 0x8E00, TASK_GATE = 0x8500, GATES = 256 };

extern const char trap_entries[];
void trap_guard(void (*body)(u32 argument), u32 argument);
__attribute__((noreturn)) void trap_unexpected(void);

struct trap trap_seen; /* written by trap_entry.S, which knows its layout */

static struct gate idt[GATES];
static u64 gdt[GDT_ENTRIES];
struct tss tss; /* user_entry.S writes ESP0 */

u32 tss_address(void)
{
    return address_of(&tss);
}

u64 tss_descriptor(const struct tss *tss)
{
    u32 base = address_of(tss);
    return (u64)(base >> 24) << 56 | (u64)0x89 << 40 | (u64)(base & 0xFFFFFF) << 16 | (sizeof *tss - 1);
}

void gdt_write(u16 selector, u64 descriptor)
{
    gdt[selector / sizeof *gdt] = descriptor;
}

void tss_load(void)
{
    gdt_write(SELECTOR_TSS, tss_descriptor(&tss));
    write_tr(SELECTOR_TSS);
}

u32 trap_entry(u32 vector)
{
    return address_of(trap_entries) + vector * EXCEPTION_ENTRY_BYTES;
}

static struct gate interrupt_gate(u32 entry)
{
    return (struct gate){ (u16)entry, SELECTOR_CODE, INTERRUPT_GATE, (u16)(entry >> 16) };
}

void trap_by_task(u32 vector, u16 selector)
{
    idt[vector] = selector ? (struct gate){ 0, selector, TASK_GATE, 0 } : interrupt_gate(trap_entry(vector));
}

void trap_by_entry(u32 vector, u32 entry)
{
    idt[vector] = interrupt_gate(entry);
}

void idt_fill(struct gate *idt, u32 gates, const char *entries)
{
    for (u32 vector = 0; vector < gates; vector++)
        idt[vector] = interrupt_gate(address_of(entries) + vector * EXCEPTION_ENTRY_BYTES);
}

void idt_load(void)
{
    write_idtr(&(struct descriptor_pointer){ sizeof idt - 1, address_of(idt) });
}

void trap_start(void)
{
    gdt_write(SELECTOR_CODE, 0x00CF9B000000FFFF);
    gdt_write(SELECTOR_DATA, 0x00CF93000000FFFF);
    gdt_write(SELECTOR_CODE_64, 0x00AF9B000000FFFF);
    gdt_write(SELECTOR_USER_CODE, 0x00CFFB000000FFFF);
    gdt_write(SELECTOR_USER_DATA, 0x00CFF3000000FFFF);
    write_gdtr(&(struct descriptor_pointer){ sizeof gdt - 1, address_of(gdt) });
    tss.ss0 = SELECTOR_DATA;
    tss_load(); /* VM exits need a valid TR in the host state */
    idt_fill(idt, EXCEPTIONS, trap_entries);
    idt_load();
}

struct trap trap_in(void (*body)(u32 argument), u32 argument)
{
    trap_seen = (struct trap){ 0 };
    trap_guard(body, argument);
    return trap_seen;
}

void trap_give_up(const struct trap *trap)
{
    if (record_running()) {
        saw("unexpected_vector", trap->vector);
        saw("unexpected_error_code", trap->error_code);
        noted("unexpected_eip", trap->eip);
        noted("unexpected_cr2", trap->cr2);
    }
    give_up("unexpected exception in L1");
}

void must_fault(struct trap trap, u32 vector, u32 error_code, const char *instruction)
{
    must("fault", trap.taken, true);
    if (!trap.taken)
        return;
    must("vector", trap.vector, vector);
    must("error_code", trap.error_code, error_code);
    must("eip_offset", trap.eip - address_of(instruction), 0);
}

void must_not_fault(struct trap trap)
{
    must("fault", trap.taken, false);
    if (!trap.taken)
        return;
    saw("vector", trap.vector);
    saw("error_code", trap.error_code);
}

void trap_unexpected(void)
{
    trap_give_up(&trap_seen);
}
