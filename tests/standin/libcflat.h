/* What an exported test takes of kvm-unit-tests' library: declarations alone, enough to compile it. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define as_text(...) #__VA_ARGS__
#define xstr(...) as_text(__VA_ARGS__)
#define PRINTS(text, words) __attribute__((format(printf, text, words)))

int printf(const char *format, ...) PRINTS(1, 2);
bool report(bool pass, const char *format, ...) PRINTS(2, 3);
void report_skip(const char *format, ...) PRINTS(1, 2);
void report_prefix_push(const char *prefix);
void report_prefix_pop(void);
int report_summary(void);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
size_t strlen(const char *text);
char *strchr(const char *text, int character);
int strcmp(const char *one, const char *other);
int strncmp(const char *one, const char *other, size_t most);
