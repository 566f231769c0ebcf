/* Generated from difftest/sweeping/vectors.toml by difftest.sweeping.table: edit that. */
#pragma once

#define VECTOR_VERSION 1

enum { FAMILY_TRANSITIONS = 0, FAMILY_PDPTE_LOADS = 1 };
enum { OP_MOV_CR0 = 0, OP_MOV_CR4 = 1, OP_WRMSR_EFER = 2, OP_LMSW = 3, OP_CLTS = 4, OP_MOV_CR3 = 5 };

#define DEFINED_CR0 0xe005003fu
#define FREE_CR0 0x6005002eu
#define DEFINED_CR4 0x3ff7fffu
#define FREE_CR4 0x772fdfu
#define DEFINED_EFER 0xd01u
#define FREE_EFER 0x801u

/* CR0, CR4 and IA32_EFER of each base state. */
#define VECTOR_BASES \
    { 0x11u, 0x0u, 0x0u }, /* unpaged */ \
    { 0x11u, 0x20u, 0x0u }, /* unpaged, PAE */ \
    { 0x11u, 0x0u, 0x100u }, /* unpaged, LME */ \
    { 0x11u, 0x20u, 0x100u }, /* unpaged, PAE and LME */ \
    { 0x80000011u, 0x0u, 0x0u }, /* 32-bit paging */ \
    { 0x80000011u, 0x20u, 0x0u }, /* PAE paging */ \
    { 0x80000011u, 0x20u, 0x100u }, /* compatibility mode */ \
    { 0x80000011u, 0x20u, 0x100u }, /* 64-bit mode */

enum {
    BASE_UNPAGED = 0,
    BASE_UNPAGED_PAE = 1,
    BASE_UNPAGED_LME = 2,
    BASE_UNPAGED_PAE_AND_LME = 3,
    BASE_32_BIT_PAGING = 4,
    BASE_PAE_PAGING = 5,
    BASE_COMPATIBILITY_MODE = 6,
    BASE_64_BIT_MODE = 7,
};
