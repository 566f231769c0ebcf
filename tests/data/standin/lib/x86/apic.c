#include "suite.h"
#include "x86/processor.h"

enum { APIC_BASE = 0x1b, ENABLED = 1 << 11, X2APIC = 1 << 10 };

void reset_apic(void)
{
	wrmsr(APIC_BASE, rdmsr(APIC_BASE) & ~(unsigned long long)(ENABLED | X2APIC));
	wrmsr(APIC_BASE, rdmsr(APIC_BASE) | ENABLED);
}

int enable_x2apic(void)
{
	wrmsr(APIC_BASE, rdmsr(APIC_BASE) | X2APIC);
	return 1;
}

/* The number in the local APIC's version register, which reads as all ones where there is no APIC. */
unsigned int apic_version(void)
{
	return *(volatile unsigned int *)0xfee00030 & 0xff;
}
