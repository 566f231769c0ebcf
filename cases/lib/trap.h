/* Exceptions in L1: captured where they are expected; elsewhere they end the image. */
#pragma once

#include "selectors.h"
#include "types.h"
#include "vectors.h"

struct trap {
    bool taken;
    u32 vector;
    u32 error_code; /* 0 for vectors that have none */
    u32 eip;
    u64 cr2;
};

void trap_start(void);

/* Call `body` with `argument`. An exception in it ends it and is returned. */
struct trap trap_in(void (*body)(u32 argument), u32 argument);

/* End the image for an exception that no `trap_in` expected. */
__attribute__((noreturn)) void trap_give_up(const struct trap *trap);

/* What the SDM requires of that answer: this exception at this instruction, or none. */
void must_fault(struct trap trap, u32 vector, u32 error_code, const char *instruction);
void must_not_fault(struct trap trap);

/* The GDT: what selectors.h names, and room. */
enum { GDT_ENTRIES = 24 };
void gdt_write(u16 selector, u64 descriptor);

/* A 32-bit task-state segment, 104 bytes (SDM, "Task-State Segment (TSS)"). */
struct tss {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 es, cs, ss, ds, fs, gs, ldt, io_map;
};
u32 tss_address(void);
u64 tss_descriptor(const struct tss *tss); /* available */

/* Load TR with the kit's own TSS, whatever a task switch left there. */
void tss_load(void);

/* The entry point of an exception, and its gate in L1's IDT: a task gate to the TSS at `selector`, or with 0 the usual
   one. */
u32 trap_entry(u32 vector);
void trap_by_task(u32 vector, u16 selector);

/* The gate of an interrupt, or of an exception that has a handler of its own for now: an interrupt gate. */
void trap_by_entry(u32 vector, u32 entry);

/* Load IDTR with the kit's own IDT for 32-bit code. */
void idt_load(void);

/* Fill the first gates of an IDT, for L1 and for L2, with interrupt gates. The entry points are EXCEPTION_ENTRY_BYTES
   apart. */
enum { EXCEPTIONS = 32, EXCEPTION_ENTRY_BYTES = 16 };
struct gate {
    u16 offset_low, selector, attributes, offset_high;
};
void idt_fill(struct gate *idt, u32 gates, const char *entries);
