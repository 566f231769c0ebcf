/* One instruction with one bit after the other. */
#pragma once

#include "trap.h"
#include "types.h"

/* For `trap_in_64`: one MOV each, RAX to the register. The label is the instruction. */
extern const char mov_to_cr0_64[], mov_to_cr4_64[];

/* For `trap_in`: WRMSR to IA32_EFER, with `efer_high` in EDX. */
void write_efer(u32 low);
extern const char write_efer_instruction[];
extern u32 efer_high;

/* #GP(0) at this instruction, and nothing else. */
bool is_gp(struct trap trap, const char *instruction);

/* Which of `bits` make `body(base ^ bit)` end in #GP(0) at `instruction`. After one that does not, `base` is written
   again. */
u32 faulting_bits(void (*body)(u32 value), const char *instruction, u32 base, u32 bits);
/* The same of 64-bit code that begins with the instruction. */
u64 faulting_bits_64(const char *body, u64 base, u64 bits);
