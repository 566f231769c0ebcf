/* Rows L1-11, L1-12, L1-17 and L1-18: what MOV to CR4 accepts. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "mode.h"
#include "sweep.h"
#include "window.h"

#define CONTROL_REGISTERS "Control Registers (Vol. 3, 2.5)"
#define PCIDS "Process-Context Identifiers (PCIDs) (Vol. 3, 4.10.1)"
#define LA57 "Paging-Mode Enabling (Vol. 3, 4.1.2)"
/* Linear-address-space separation and linear-address masking: CPUID reports them in leaf 7, sub-leaf 1. */
#define CR4_OF_SUB_LEAF_1 (1u << 27 | 1u << 28)

/* MOV to CR4 must end in #GP(0) and change nothing. */
static void must_refuse(u32 value)
{
    u32 before = read_cr4();
    struct trap trap = trap_in(mov_to_cr4, value);
    u32 after = read_cr4();
    trap_in(mov_to_cr4, before);
    must_fault(trap, VECTOR_GP, 0, mov_to_cr4_instruction);
    must("cr4_changed", after ^ before, 0);
}

/* MOV to CR4 must set this bit and clear it again. */
static void must_toggle(u32 bit)
{
    u32 cr4 = read_cr4();
    struct trap set = trap_in(mov_to_cr4, cr4 | bit);
    u32 with = read_cr4();
    struct trap clear = trap_in(mov_to_cr4, cr4);
    u32 without = read_cr4();
    must("set_faults", set.taken, false);
    must("clear_faults", clear.taken, false);
    must("cr4_with", with, cr4 | bit);
    must("cr4_without", without, cr4);
}

CHECK(la57_without_paging, "L1-11/without-paging", NEEDS_NOTHING, LA57,
      "Control: MOV to CR4 sets and clears LA57 with CR0.PG=0")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_LA57);
    long_stage();
    must_toggle(CR4_LA57);
    long_leave();
}

CHECK(la57_compatibility, "L1-11/compatibility", NEEDS_NOTHING, LA57,
      "MOV to CR4 that sets LA57 in compatibility mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_LA57);
    long_enter();
    must_refuse(read_cr4() | CR4_LA57);
    long_leave();
}

CHECK(la57_64, "L1-11/64-bit", NEEDS_NOTHING, LA57, "MOV to CR4 that sets LA57 in 64-bit mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_LA57);
    long_enter();
    u32 cr4 = read_cr4();
    struct trap trap = trap_in_64(mov_to_cr4_64, cr4 | CR4_LA57);
    u32 after = read_cr4();
    long_leave();
    must_fault(trap, VECTOR_GP, 0, mov_to_cr4_64);
    must("cr4_changed", after ^ cr4, 0);
}

CHECK(pcide_control, "L1-12/control", NEEDS_NOTHING, PCIDS,
      "Control: MOV to CR4 sets and clears PCIDE in IA-32e mode with CR3[11:0]=0")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_PCID);
    long_enter();
    must_toggle(CR4_PCIDE);
    long_leave();
}

/* Without PCIDE only PWT and PCD of CR3[11:0] mean anything. The others are ignored, and a CPU need not keep them: what
   it keeps, it must refuse. */
CHECK(pcide_cr3, "L1-12/cr3-low-bits", NEEDS_NOTHING, PCIDS,
      "MOV to CR4 that sets PCIDE causes #GP(0) with each bit of CR3[11:0] that the CPU keeps")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_PCID);
    long_enter();
    u32 cr3 = read_cr3(), cr4 = read_cr4(), kept = 0, faults = 0;
    for (u32 bit = 1; bit < PAGE_SIZE; bit <<= 1) {
        write_cr3(cr3 | bit);
        kept |= read_cr3() ^ cr3;
        if (is_gp(trap_in(mov_to_cr4, cr4 | CR4_PCIDE), mov_to_cr4_instruction))
            faults |= bit;
        write_cr4(cr4);
    }
    long_leave();
    must("kept_pwt_pcd", kept & 0x18, 0x18);
    must("accepted_bits", kept & ~faults, 0);
    saw("kept_bits", kept);
}

CHECK(pcide_32_bit, "L1-12/32-bit-paging", NEEDS_NOTHING, PCIDS,
      "MOV to CR4 that sets PCIDE under 32-bit paging causes #GP(0)")
{
    need(FEATURE_PCID);
    must_refuse(read_cr4() | CR4_PCIDE);
}

CHECK(pcide_pae, "L1-12/pae-paging", NEEDS_NOTHING, PCIDS, "MOV to CR4 that sets PCIDE under PAE paging causes #GP(0)")
{
    need(FEATURE_PCID);
    window_enter(PAGING_PAE, PTE_PRESENT);
    must_refuse(read_cr4() | CR4_PCIDE);
    window_leave();
}

CHECK(pcide_without_paging, "L1-12/without-paging", NEEDS_NOTHING, PCIDS,
      "MOV to CR4 that sets PCIDE with CR0.PG=0 and LME=1 causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_PCID);
    long_stage();
    must_refuse(read_cr4() | CR4_PCIDE);
    long_leave();
}

static void need_cet(void)
{
    if (!has(FEATURE_CET_IBT))
        need(FEATURE_CET_SS);
}

/* Neither MOV turns shadow stacks or branch tracking on: their MSRs are 0. */
CHECK(cet_control, "L1-17/control", NEEDS_NOTHING, CONTROL_REGISTERS,
      "Control: MOV to CR4 sets and clears CET with CR0.WP=1")
{
    need_cet();
    u32 cr0 = read_cr0();
    write_cr0(cr0 | CR0_WP);
    must_toggle(CR4_CET);
    write_cr0(cr0);
}

CHECK(cet_set, "L1-17/cet-set", NEEDS_NOTHING, CONTROL_REGISTERS,
      "MOV to CR4 that sets CET with CR0.WP=0 causes #GP(0)")
{
    need_cet();
    u32 cr0 = read_cr0();
    write_cr0(cr0 & ~CR0_WP);
    must_refuse(read_cr4() | CR4_CET);
    write_cr0(cr0);
}

CHECK(wp_cleared, "L1-17/wp-cleared", NEEDS_NOTHING, CONTROL_REGISTERS,
      "MOV to CR0 that clears WP with CR4.CET=1 causes #GP(0)")
{
    need_cet();
    u32 cr0 = read_cr0(), cr4 = read_cr4();
    write_cr0(cr0 | CR0_WP);
    write_cr4(cr4 | CR4_CET);
    struct trap trap = trap_in(mov_to_cr0, cr0 & ~CR0_WP);
    u32 after = read_cr0();
    write_cr4(cr4);
    write_cr0(cr0);
    must_fault(trap, VECTOR_GP, 0, mov_to_cr0_instruction);
    must("wp", after / CR0_WP & 1, 1);
}

/* What CPUID says of CR4's bits. PCE is in every CPU with performance counters: not asked for, and left out. */
static u32 supported_bits(void)
{
    const struct {
        u32 bits;
        struct feature feature;
    } bits[] = {
        { CR4_VME | CR4_PVI, FEATURE_VME },   { CR4_TSD, FEATURE_TSC },         { CR4_DE, FEATURE_DE },
        { CR4_PSE, FEATURE_PSE },             { CR4_PAE, FEATURE_PAE },         { CR4_MCE, FEATURE_MCE },
        { CR4_PGE, FEATURE_PGE },             { CR4_OSFXSR, FEATURE_FXSR },     { CR4_OSXMMEXCPT, FEATURE_SSE },
        { CR4_UMIP, FEATURE_UMIP },           { CR4_LA57, FEATURE_LA57 },       { CR4_VMXE, FEATURE_VMX },
        { CR4_SMXE, FEATURE_SMX },            { CR4_FSGSBASE, FEATURE_FSGSBASE }, { CR4_PCIDE, FEATURE_PCID },
        { CR4_OSXSAVE, FEATURE_XSAVE },       { CR4_KL, FEATURE_KEY_LOCKER },   { CR4_SMEP, FEATURE_SMEP },
        { CR4_SMAP, FEATURE_SMAP },           { CR4_PKE, FEATURE_PKU },         { CR4_CET, FEATURE_CET_SS },
        { CR4_CET, FEATURE_CET_IBT },         { CR4_PKS, FEATURE_PKS },         { CR4_UINTR, FEATURE_UINTR },
    };
    u32 supported = 0;
    for (u32 index = 0; index < ARRAY_SIZE(bits); index++)
        supported |= has(bits[index].feature) ? bits[index].bits : 0;
    return supported;
}

/* PCIDE has rows of its own and needs IA-32e mode. */
CHECK(cr4_bits, "L1-18/each-bit", NEEDS_NOTHING, CONTROL_REGISTERS,
      "MOV to CR4 causes #GP(0) for each bit that CPUID does not report, and for no other")
{
    need_intel(); /* others have other bits */
    u32 supported = supported_bits(), asked = ~(CR4_PCE | CR4_PCIDE);
    if (has(FEATURE_SMEP) && cpuid(7).eax) /* there are sub-leaves */
        asked &= ~CR4_OF_SUB_LEAF_1;
    mode_enter((struct mode){ (read_cr0() & ~CR0_PG) | CR0_WP, read_cr3(), 0 });
    u32 faults = faulting_bits(mov_to_cr4, mov_to_cr4_instruction, 0, asked);
    mode_leave();
    noted("supported_bits", supported);
    must("wrongly_accepted", asked & ~supported & ~faults, 0);
    must("wrongly_refused", supported & faults, 0);
}

CHECK(cr4_high_half, "L1-18/high-half", NEEDS_NOTHING, CONTROL_REGISTERS,
      "MOV to CR4 in 64-bit mode causes #GP(0) when any of bits 63:33 is set")
{
    need_intel();
    need(FEATURE_LONG_MODE);
    u64 asked = ~(u64)0 << 33; /* bit 32 is CR4.FRED */
    long_enter();
    u32 cr4 = read_cr4();
    struct trap control = trap_in_64(mov_to_cr4_64, cr4);
    u64 faults = faulting_bits_64(mov_to_cr4_64, cr4, asked);
    u32 after = read_cr4();
    long_leave();
    must_not_fault(control);
    must("faulting_bits", faults, asked);
    must("cr4_changed", after ^ cr4, 0);
}
