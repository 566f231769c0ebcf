/* An L2 that stores what it runs with, and one that changes it. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "tally.h"
#include "vmx.h"

#define SDM_ENTRY_REGISTERS "Loading Guest Control Registers, Debug Registers, and MSRs (Vol. 3, 27.3.2.1)"
#define SDM_ENTRY_SEGMENTS "Loading Guest Segment Registers and Descriptor-Table Registers (Vol. 3, 27.3.2.2)"
#define SDM_ENTRY_RIP "Loading Guest RIP, RSP, RFLAGS, and SSP (Vol. 3, 27.3.2.3)"
#define SDM_SAVING_REGISTERS "Saving Control Registers, Debug Registers, and MSRs (Vol. 3, 28.3.1)"
#define SDM_SAVING_SEGMENTS "Saving Segment Registers and Descriptor-Table Registers (Vol. 3, 28.3.2)"
#define SDM_SAVING_OTHER "Saving Non-Register State (Vol. 3, 28.3.4)"
#define SDM_HOST_REGISTERS "Loading Host Control Registers, Debug Registers, MSRs (Vol. 3, 28.5.1)"
#define SDM_HOST_SEGMENTS "Loading Host Segment and Descriptor-Table Registers (Vol. 3, 28.5.2)"

enum {
    IA32_SYSENTER_CS = 0x174,
    IA32_SYSENTER_ESP = 0x175,
    IA32_SYSENTER_EIP = 0x176,
    IA32_DEBUGCTL = 0x1D9,
    IA32_PAT = 0x277,
    IA32_STAR = 0xC0000081,
    IA32_LSTAR = 0xC0000082,
};
#define PAT_1 0x0007040600070406u
#define PAT_2 0x0006000600060006u

/* What the L2 of `observe` stores: in this order, for its assembly. */
struct state {
    u32 cr0, cr3, cr4, dr7, eflags, selectors[SEGMENTS], ldtr, tr;
    struct descriptor_pointer gdtr, idtr;
    u16 unused[2];
    u32 fs_word, gs_word;
};
extern volatile struct state l2_state;
void observe_prepare(void); /* `l2_prepare` for this L2 */
void observe(void);         /* run it: it must execute */

/* RDMSR and WRMSR in L2, which MSR bitmaps let through: `skip` where there are none. */
void prepare_with_msrs(void);
u64 msr_of_l2(u32 index);
void write_msr_of_l2(u32 index, u64 value);

#define READ_REGISTER(name, register)                                  \
    static inline u32 read_##name(void)                                \
    {                                                                  \
        u32 value;                                                     \
        asm volatile("mov %%" #register ", %0" : "=r"(value));         \
        return value;                                                  \
    }
READ_REGISTER(dr7, dr7)
READ_REGISTER(fs, fs)
READ_REGISTER(gs, gs)
READ_REGISTER(cs, cs)
READ_REGISTER(ss, ss)
READ_REGISTER(ds, ds)
READ_REGISTER(es, es)
#undef READ_REGISTER

static inline struct descriptor_pointer read_idtr(void)
{
    struct descriptor_pointer pointer;
    asm volatile("sidt %0" : "=m"(pointer));
    return pointer;
}

static inline u32 read_eflags(void)
{
    u32 flags;
    asm volatile("pushfl; popl %0" : "=r"(flags));
    return flags;
}
