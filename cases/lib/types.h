/* Fixed-width names, and what the compiler gives without a C library. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE_SIZE 4096u
#define PAGE_ALIGNED __attribute__((aligned(4096)))
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Physical and linear addresses are equal everywhere in the kit. */
static inline u32 address_of(const volatile void *pointer)
{
    return (u32)pointer;
}
