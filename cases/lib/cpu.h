/* Instructions that C has no words for. */
#pragma once

#include "types.h"

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_VME (1u << 0)
#define CR4_PVI (1u << 1)
#define CR4_TSD (1u << 2)
#define CR4_DE (1u << 3)
#define CR4_PSE (1u << 4)
#define CR4_PAE (1u << 5)
#define CR4_MCE (1u << 6)
#define CR4_PGE (1u << 7)
#define CR4_PCE (1u << 8)
#define CR4_OSFXSR (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP (1u << 11)
#define CR4_LA57 (1u << 12)
#define CR4_VMXE (1u << 13)
#define CR4_SMXE (1u << 14)
#define CR4_FSGSBASE (1u << 16)
#define CR4_PCIDE (1u << 17)
#define CR4_OSXSAVE (1u << 18)
#define CR4_KL (1u << 19)
#define CR4_SMEP (1u << 20)
#define CR4_SMAP (1u << 21)
#define CR4_PKE (1u << 22)
#define CR4_CET (1u << 23)
#define CR4_PKS (1u << 24)
#define CR4_UINTR (1u << 25)

#define IA32_EFER 0xC0000080
#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)

static inline void out8(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 in8(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8_string(u16 port, const void *data, u32 count)
{
    asm volatile("rep outsb" : "+S"(data), "+c"(count) : "d"(port) : "memory");
}

static inline void fill32(void *to, u32 value, u32 count)
{
    asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

#define CONTROL_REGISTER(number)                                              \
    static inline u32 read_cr##number(void)                                   \
    {                                                                         \
        u32 value;                                                            \
        asm volatile("mov %%cr" #number ", %0" : "=r"(value));                \
        return value;                                                         \
    }                                                                         \
    static inline void write_cr##number(u32 value)                            \
    {                                                                         \
        asm volatile("mov %0, %%cr" #number : : "r"(value) : "memory");       \
    }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)
#undef CONTROL_REGISTER

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid_of(u32 leaf, u32 sub_leaf)
{
    struct cpuid answer;
    asm volatile("cpuid"
                 : "=a"(answer.eax), "=b"(answer.ebx), "=c"(answer.ecx), "=d"(answer.edx)
                 : "a"(leaf), "c"(sub_leaf));
    return answer;
}

static inline struct cpuid cpuid(u32 leaf)
{
    return cpuid_of(leaf, 0);
}

static inline u64 read_msr(u32 index)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

static inline void write_msr(u32 index, u64 value)
{
    asm volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

struct descriptor_pointer {
    u16 limit;
    u32 base;
} __attribute__((packed));

static inline struct descriptor_pointer read_gdtr(void)
{
    struct descriptor_pointer pointer;
    asm volatile("sgdt %0" : "=m"(pointer));
    return pointer;
}

static inline void write_gdtr(const struct descriptor_pointer *pointer)
{
    asm volatile("lgdt %0" : : "m"(*pointer));
}

static inline void write_idtr(const struct descriptor_pointer *pointer)
{
    asm volatile("lidt %0" : : "m"(*pointer));
}

static inline void write_tr(u16 selector)
{
    asm volatile("ltr %0" : : "r"(selector));
}

#define EFLAGS_AC (1u << 18)

/* EFLAGS.AC suspends SMAP for explicit accesses. */
static inline void write_ac(bool ac)
{
    asm volatile("pushfl; andl %0, (%%esp); orl %1, (%%esp); popfl"
                 :
                 : "i"(~EFLAGS_AC), "r"(ac ? EFLAGS_AC : 0)
                 : "memory", "cc");
}
