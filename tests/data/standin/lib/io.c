#include <stdarg.h>

#include "suite.h"

static int tests, failures;

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
