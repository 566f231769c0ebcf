/*
 * Included first when the suite's lib/x86/apic.c is compiled. Bochs never gives back a local APIC whose enable flag was
 * cleared, so that resetting it must leave the flag alone: see __wrap_reset_apic in boot.c.
 */
#ifndef __ASSEMBLER__
#include "x86/processor.h"

#define DIFFTEST_IA32_APIC_BASE 0x1b
#define DIFFTEST_APIC_ENABLED (1u << 11)

extern volatile int difftest_resets_apic; /* how many CPUs are in reset_apic() */

static inline void difftest_wrmsr(unsigned int msr, unsigned long long value)
{
	if (msr == DIFFTEST_IA32_APIC_BASE && !(value & DIFFTEST_APIC_ENABLED) && difftest_resets_apic)
		return;
	wrmsr(msr, value);
}

#define wrmsr difftest_wrmsr
#endif
