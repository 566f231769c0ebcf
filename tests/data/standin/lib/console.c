#include "suite.h"

static void out8(unsigned short port, unsigned char value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static unsigned char in8(unsigned short port)
{
	unsigned char value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

void puts(const char *text)
{
	for (; *text; text++) {
		while (!(in8(0x3fd) & 0x20))
			;
		out8(0x3f8, *text);
	}
}

void exit(int code)
{
	static const char word[] = "Shutdown";

	out8(0xf4, code);
	for (const char *at = word; *at; at++)
		out8(0x8900, *at);
	for (;;)
		__asm__ volatile("hlt");
}
