/* Rows L1-13 to L1-15: what WRMSR to IA32_EFER accepts. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "sweep.h"
#include "window.h"

#define ENABLING "Paging-Mode Enabling (Vol. 3, 4.1.2)"
#define EXTENDED_FEATURES "Extended Feature Enable Register (Vol. 3, 2.2.1)"
#define EFER_DEFINED ((u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))

static u32 efer(void)
{
    return (u32)read_msr(IA32_EFER);
}

/* WRMSR that toggles LME must end in #GP(0) and change nothing; the window is left. */
static void must_refuse_other_lme(void)
{
    u32 before = efer();
    efer_high = 0;
    struct trap trap = trap_in(write_efer, before ^ EFER_LME);
    u32 after = efer();
    trap_in(write_efer, before);
    window_leave();
    must_fault(trap, VECTOR_GP, 0, write_efer_instruction);
    must("efer_changed", after ^ before, 0);
}

CHECK(lme_set_32_bit, "L1-13/set-under-32-bit-paging", NEEDS_NOTHING, ENABLING,
      "WRMSR that sets LME under 32-bit paging causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    window_enter(PAGING_32_BIT, PTE_PRESENT);
    must_refuse_other_lme();
}

CHECK(lme_set_pae, "L1-13/set-under-pae-paging", NEEDS_NOTHING, ENABLING,
      "WRMSR that sets LME under PAE paging causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    window_enter(PAGING_PAE, PTE_PRESENT);
    must_refuse_other_lme();
}

CHECK(lme_clear, "L1-13/clear-in-ia-32e-mode", NEEDS_NOTHING, ENABLING,
      "WRMSR that clears LME in IA-32e mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    window_enter(PAGING_4_LEVEL, PTE_PRESENT);
    must_refuse_other_lme();
}

CHECK(lme_same, "L1-13/same-value", NEEDS_NOTHING, ENABLING,
      "WRMSR of IA32_EFER executes when it leaves LME as it is, and when it toggles LME without paging")
{
    need(FEATURE_LONG_MODE);
    u32 faults = 0, changed = 0;
    efer_high = 0;
    for (enum paging paging = PAGING_32_BIT; paging <= PAGING_4_LEVEL; paging++) {
        window_enter(paging, PTE_PRESENT);
        u32 before = efer();
        faults += trap_in(write_efer, before).taken;
        changed |= efer() ^ before;
        window_leave();
    }
    long_stage();
    faults += trap_in(write_efer, efer() & ~EFER_LME).taken;
    changed |= efer() & EFER_LME;
    faults += trap_in(write_efer, efer() | EFER_LME).taken;
    changed |= (efer() & EFER_LME) ^ EFER_LME;
    long_leave();
    must("faults", faults, 0);
    must("changed", changed, 0);
}

/* LMA is read-only. Whether a WRMSR that would change it faults is not said, so that is not judged; LMA is. */
static void must_keep_lma(void)
{
    u32 before = efer();
    efer_high = 0;
    struct trap trap = trap_in(write_efer, before ^ EFER_LMA);
    u32 after = efer(), cr0 = read_cr0();
    long_leave();
    saw("fault", trap.taken);
    must("efer_changed", after ^ before, 0);
    saw("cr0_pg", cr0 / CR0_PG);
    if (trap.taken)
        leave_open();
}

CHECK(lma_set, "L1-14/set", NEEDS_NOTHING, EXTENDED_FEATURES,
      "WRMSR that sets LMA outside IA-32e mode leaves LMA clear")
{
    need(FEATURE_LONG_MODE);
    long_stage();
    must_keep_lma();
}

CHECK(lma_clear, "L1-14/clear", NEEDS_NOTHING, EXTENDED_FEATURES, "WRMSR that clears LMA in IA-32e mode leaves LMA set")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    must_keep_lma();
}

/* SCE belongs to SYSCALL, which CPUID reports in 64-bit mode only: left alone, as are LME and LMA. */
CHECK(efer_reserved, "L1-15/reserved", NEEDS_NOTHING, EXTENDED_FEATURES,
      "WRMSR that sets any reserved bit of IA32_EFER causes #GP(0)")
{
    need_intel();
    need(FEATURE_LONG_MODE);
    u32 base = efer();
    u64 faults = faulting_bits(write_efer, write_efer_instruction, base, (u32)~EFER_DEFINED);
    for (u32 bit = 1; bit; bit <<= 1) {
        efer_high = bit;
        if (is_gp(trap_in(write_efer, base), write_efer_instruction))
            faults |= (u64)bit << 32;
        efer_high = 0;
        trap_in(write_efer, base);
    }
    must("faulting_bits", faults, ~EFER_DEFINED);
    must("efer_changed", efer() ^ base, 0);
}

CHECK(nxe_unsupported, "L1-15/nxe-unsupported", NEEDS_NOTHING, EXTENDED_FEATURES,
      "WRMSR that sets NXE causes #GP(0) where CPUID reports no execute-disable")
{
    need(FEATURE_LONG_MODE); /* without it there may be no IA32_EFER */
    if (has(FEATURE_NX))
        skip("the CPU has execute-disable");
    efer_high = 0;
    struct trap trap = trap_in(write_efer, efer() | EFER_NXE);
    must_fault(trap, VECTOR_GP, 0, write_efer_instruction);
}

CHECK(nxe_supported, "L1-15/nxe-supported", NEEDS_NOTHING, EXTENDED_FEATURES,
      "Control: WRMSR sets NXE where CPUID reports execute-disable")
{
    need(FEATURE_NX);
    u32 before = efer();
    efer_high = 0;
    struct trap trap = trap_in(write_efer, before | EFER_NXE);
    u32 after = efer();
    trap_in(write_efer, before);
    must_not_fault(trap);
    must("nxe", after / EFER_NXE & 1, 1);
}
