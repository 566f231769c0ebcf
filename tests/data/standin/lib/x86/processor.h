#pragma once

static inline unsigned long long rdmsr(unsigned int msr)
{
	unsigned long long value;

	__asm__ volatile("rdmsr" : "=A"(value) : "c"(msr));
	return value;
}

static inline void wrmsr(unsigned int msr, unsigned long long value)
{
	__asm__ volatile("wrmsr" : : "A"(value), "c"(msr));
}
