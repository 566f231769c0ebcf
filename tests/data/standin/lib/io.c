#include <stdarg.h>

#include "suite.h"

static int tests, failures;

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

/* %s and %d of numbers that are not negative. */
int printf(const char *format, ...)
{
	char buffer[512], digits[12], *to = buffer;
	va_list values;

	va_start(values, format);
	for (; *format; format++) {
		if (*format != '%') {
			*to++ = *format;
		} else if (*++format == 's') {
			for (const char *text = va_arg(values, const char *); *text;)
				*to++ = *text++;
		} else {
			int count = 0, number = va_arg(values, int);

			do
				digits[count++] = '0' + number % 10;
			while (number /= 10);
			while (count)
				*to++ = digits[--count];
		}
	}
	va_end(values);
	*to = '\0';
	puts(buffer);
	return to - buffer;
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

void report(int passed, const char *name)
{
	tests++;
	failures += !passed;
	printf("%s: %s\n", passed ? "PASS" : "FAIL", name);
}

int report_summary(void)
{
	printf("SUMMARY: %d tests, %d unexpected failures\n", tests, failures);
	return failures != 0;
}
