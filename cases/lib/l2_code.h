/* One instruction for L2, and what may become of it: it executes, it faults, or it exits. */
#pragma once

#include "l2.h"

/* An instruction, and the VMCALL after it, at `end`, which L2 reaches when the instruction executes. */
struct l2_code {
    const char *start, *end;
};

/* At file scope: L2_CODE(clts, "clts"); */
#define L2_CODE(name, assembly)                                                                          \
    extern const char l2_##name[], l2_##name##_end[];                                                    \
    asm(".pushsection .text\nl2_" #name ": " assembly "\nl2_" #name "_end: vmcall\n.popsection");        \
    static const struct l2_code name = { l2_##name, l2_##name##_end }

/* Have a prepared L2 run `code`, whatever it ran before, and return the next exit. */
struct vm_exit l2_try(const struct l2_code *code);

/* For sweeps, which judge many exits in one record: whether the instruction executed. */
bool executed(const struct vm_exit *exit, const struct l2_code *code);

/* What the SDM requires of the instruction, and everything else that the exit reports (`saw_exit`). */
void must_execute(const struct vm_exit *exit, const struct l2_code *code);
void must_take_exception(const struct vm_exit *exit, const struct l2_code *code, u32 vector, u32 error_code);
