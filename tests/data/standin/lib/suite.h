#pragma once

struct test {
	const char *name;
	void (*run)(void);
};

int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void puts(const char *text);
void exit(int code);
int number_in_environment(const char *name);
int same(const char *one, const char *other);
void report(int passed, const char *name);
int report_summary(void);
void reset_apic(void);
int enable_x2apic(void);
unsigned int apic_version(void);
