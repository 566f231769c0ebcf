/* What CPUID says the CPU has. `need(FEATURE_SMEP)` ends a check with SKIP where it is missing. */
#pragma once

#include "types.h"

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct feature {
    const char *absent; /* what a SKIP says */
    u32 leaf;
    enum cpuid_register place;
    u32 bit;
};

#define FEATURE(absent, leaf, place, bit) ((struct feature){ absent, leaf, CPUID_##place, bit })
#define FEATURE_VME FEATURE("no VME", 1, EDX, 1)
#define FEATURE_DE FEATURE("no debugging extensions", 1, EDX, 2)
#define FEATURE_PSE FEATURE("no PSE", 1, EDX, 3)
#define FEATURE_TSC FEATURE("no TSC", 1, EDX, 4)
#define FEATURE_PAE FEATURE("no PAE", 1, EDX, 6)
#define FEATURE_MCE FEATURE("no MCE", 1, EDX, 7)
#define FEATURE_SEP FEATURE("no SYSENTER", 1, EDX, 11)
#define FEATURE_PGE FEATURE("no PGE", 1, EDX, 13)
#define FEATURE_PSE36 FEATURE("no PSE-36", 1, EDX, 17)
#define FEATURE_FXSR FEATURE("no FXSR", 1, EDX, 24)
#define FEATURE_SSE FEATURE("no SSE", 1, EDX, 25)
#define FEATURE_VMX FEATURE("no VMX", 1, ECX, 5)
#define FEATURE_SMX FEATURE("no SMX", 1, ECX, 6)
#define FEATURE_PCID FEATURE("no PCID", 1, ECX, 17)
#define FEATURE_XSAVE FEATURE("no XSAVE", 1, ECX, 26)
#define FEATURE_FSGSBASE FEATURE("no FSGSBASE", 7, EBX, 0)
#define FEATURE_SMEP FEATURE("no SMEP", 7, EBX, 7)
#define FEATURE_SMAP FEATURE("no SMAP", 7, EBX, 20)
#define FEATURE_UMIP FEATURE("no UMIP", 7, ECX, 2)
#define FEATURE_PKU FEATURE("no protection keys for user pages", 7, ECX, 3)
#define FEATURE_CET_SS FEATURE("no CET shadow stacks", 7, ECX, 7)
#define FEATURE_LA57 FEATURE("no 57-bit linear addresses", 7, ECX, 16)
#define FEATURE_KEY_LOCKER FEATURE("no key locker", 7, ECX, 23)
#define FEATURE_PKS FEATURE("no protection keys for supervisor pages", 7, ECX, 31)
#define FEATURE_UINTR FEATURE("no user interrupts", 7, EDX, 5)
#define FEATURE_CET_IBT FEATURE("no CET indirect branch tracking", 7, EDX, 20)
#define FEATURE_NX FEATURE("no execute-disable", 0x80000001, EDX, 20)
#define FEATURE_LONG_MODE FEATURE("no Intel 64", 0x80000001, EDX, 29)

bool has(struct feature feature);
void need(struct feature feature); /* `skip`, unless the CPU has it */

/* NULL, or that this is not one of Intel's CPUs, which the SDM is about; `skip` in that case. */
const char *intel_lacking(void);
void need_intel(void);
