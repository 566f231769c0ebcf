/* Guest control registers, debug registers and MSRs: VM entry fails with exit reason 33. */
#include "feature.h"
#include "l1_mode.h"
#include "stage.h"

static void sweep_fixed(u64 but, u64 reachable)
{
    struct tally tally = { 0 };
    u64 cr0 = fixed_otherwise(vmcs_read64(GUEST_CR0), IA32_VMX_CR0_FIXED0, IA32_VMX_CR0_FIXED1, but);
    u64 cr4 = fixed_otherwise(vmcs_read64(GUEST_CR4), IA32_VMX_CR4_FIXED0, IA32_VMX_CR4_FIXED1, 0);
    sweep_bits(&tally, GUEST_CR0, cr0 & reachable, GUEST_REFUSED);
    sweep_bits(&tally, GUEST_CR4, cr4 & reachable, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(fixed_unrestricted, "E-27/fixed-bits-unrestricted", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of an unrestricted guest fails for each fixed bit of CR0 and CR4 but CR0.PE and PG")
{
    entry_prepare();
    sweep_fixed(CR0_PE | CR0_PG, BITS(0, 31));
}

CHECK(fixed_restricted, "E-27/fixed-bits", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry without unrestricted guest fails for each bit of CR0 and CR4 that VMX operation fixes")
{
    entry_prepare();
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "unrestricted guest cannot be off");
    sweep_fixed(0, BITS(0, 31));
}

CHECK(fixed_high, "E-27/fixed-bits-high", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry from 64-bit mode fails for each of bits 63:32 of guest CR0 and CR4")
{
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_fixed(CR0_PE | CR0_PG, BITS(32, 63));
}

static void change_cr0(u32 clear, u32 set)
{
    vmcs_write(GUEST_CR0, (vmcs_read(GUEST_CR0) & ~clear) | set);
}

static void change_cr4(u32 clear, u32 set)
{
    vmcs_write(GUEST_CR4, (vmcs_read(GUEST_CR4) & ~clear) | set);
}

static void with_paging(void)
{
    entry_prepare();
    l2_use_32_bit_paging();
    l2_turn_paging_on();
}

CHECK(unpaged_control, "E-06/control", NEEDS_L2, SDM_GUEST_REGISTERS,
      "Control: VM entry of an unrestricted guest succeeds with CR0.PE=0 and PG=0")
{
    entry_prepare();
    l2_real_mode();
    must_enter();
}

CHECK(paged_real, "E-06/pg-without-pe", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of an unrestricted guest fails with CR0.PG=1 and PE=0")
{
    with_paging();
    l2_real_mode();
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(unpaged, "E-09/pg", NEEDS_L2, SDM_GUEST_REGISTERS, "VM entry without unrestricted guest fails with CR0.PG=0")
{
    entry_prepare();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "unrestricted guest cannot be off");
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(unpaged_no_ept, "E-09/pg-without-ept", NEEDS_L2, SDM_GUEST_REGISTERS, "VM entry without EPT fails with CR0.PG=0")
{
    entry_prepare();
    without_ept();
    change_cr0(CR0_PG, 0);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(real_no_ept, "E-09/pe-without-ept", NEEDS_L2, SDM_GUEST_REGISTERS, "VM entry without EPT fails with CR0.PE=0")
{
    entry_prepare();
    without_ept();
    change_cr0(CR0_PE, 0);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(ia32e_control, "E-07/control", NEEDS_L2, SDM_GUEST_REGISTERS,
      "Control: VM entry of a guest in IA-32e mode succeeds with CR0.PG=1, CR4.PAE=1, EFER.LMA=1 and LME=1")
{
    entry_prepare();
    in_ia32e_mode();
    must_enter();
}

CHECK(ia32e_unpaged, "E-07/pg", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of an unrestricted guest in IA-32e mode fails with CR0.PG=0")
{
    entry_prepare();
    in_ia32e_mode();
    change_cr0(CR0_PG, 0);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(ia32e_no_pae, "E-08/pae", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest in IA-32e mode fails with CR4.PAE=0")
{
    entry_prepare();
    in_ia32e_mode();
    change_cr4(CR4_PAE, 0);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(ia32e_no_ept, "E-08/pae-without-ept", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest in IA-32e mode without EPT fails with CR4.PAE=0")
{
    entry_prepare();
    in_ia32e_mode();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    u64 enters = entry_try();
    change_cr4(CR4_PAE, 0);
    must_fail_entry(GUEST_STATE_INVALID, 0);
    must("with_pae", enters, ENTRY_RAN);
}

/* IA32_EFER as VM entry loads it. */
static void load_efer(void)
{
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
}

CHECK(efer_ia32e, "E-10/ia32e-mode", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest in IA-32e mode fails when the loaded IA32_EFER lacks LMA or LME")
{
    struct tally tally = { 0 };
    entry_prepare();
    in_ia32e_mode();
    SWEEP_VALUES(&tally, GUEST_IA32_EFER, GUEST_REFUSED, 0, EFER_LME, EFER_LMA);
    tally_turn(&tally, vmcs_read64(GUEST_IA32_EFER), entry_try(), ENTRY_RAN);
    must_tally(&tally);
}

CHECK(efer_paged, "E-10/paging", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest with paging outside IA-32e mode fails when the loaded IA32_EFER has LMA or LME")
{
    struct tally tally = { 0 };
    with_paging();
    load_efer();
    SWEEP_VALUES(&tally, GUEST_IA32_EFER, GUEST_REFUSED, EFER_LME, EFER_LMA, EFER_LME | EFER_LMA);
    SWEEP_VALUES(&tally, GUEST_IA32_EFER, ENTRY_RAN, 0);
    must_tally(&tally);
}

CHECK(efer_unpaged, "E-10/no-paging", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest without paging succeeds when the loaded IA32_EFER has LME, and fails when it has LMA")
{
    struct tally tally = { 0 };
    entry_prepare();
    load_efer();
    SWEEP_VALUES(&tally, GUEST_IA32_EFER, GUEST_REFUSED, EFER_LMA, EFER_LME | EFER_LMA);
    SWEEP_VALUES(&tally, GUEST_IA32_EFER, ENTRY_RAN, 0, EFER_LME);
    must_tally(&tally);
}

CHECK(efer_reserved, "E-10/reserved", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry fails for each reserved bit of guest IA32_EFER that is to be loaded, and ignores those that are not")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write64(GUEST_IA32_EFER, ~(u64)0);
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    load_efer();
    vmcs_write64(GUEST_IA32_EFER, 0);
    sweep_bits(&tally, GUEST_IA32_EFER, BITS(1, 7) | BITS(9, 9) | BITS(16, 63), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(pcide_control, "E-11/control", NEEDS_L2, SDM_GUEST_REGISTERS,
      "Control: VM entry of a guest in IA-32e mode succeeds with CR4.PCIDE=1")
{
    entry_prepare();
    need(FEATURE_PCID);
    in_ia32e_mode();
    change_cr4(0, CR4_PCIDE);
    must_enter();
}

CHECK(pcide, "E-11/pcide", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry of a guest outside IA-32e mode fails with CR4.PCIDE=1")
{
    with_paging();
    need(FEATURE_PCID);
    change_cr4(0, CR4_PCIDE);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(cet_control, "E-12/control", NEEDS_L2, SDM_GUEST_REGISTERS,
      "Control: VM entry succeeds with CR4.CET=1 and CR0.WP=1")
{
    entry_prepare();
    need(FEATURE_CET_SS);
    change_cr4(0, CR4_CET);
    change_cr0(0, CR0_WP);
    must_enter();
}

CHECK(cet, "E-12/cet", NEEDS_L2, SDM_GUEST_REGISTERS, "VM entry fails with CR4.CET=1 and CR0.WP=0")
{
    entry_prepare();
    need(FEATURE_CET_SS);
    change_cr4(0, CR4_CET);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(cr3, "E-13/cr3", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry fails for each bit of guest CR3 beyond the physical-address width")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_CR3, beyond_physical_addresses(), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(cr3_no_ept, "E-13/cr3-without-ept", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry without EPT fails for each bit of guest CR3 beyond the physical-address width")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    without_ept();
    sweep_bits(&tally, GUEST_CR3, beyond_physical_addresses(), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(dr7, "E-27/dr7", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry fails for each of bits 63:32 of guest DR7 that is to be loaded, and ignores those that are not")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "no load of debug controls");
    sweep_bits(&tally, GUEST_DR7, BITS(32, 63), GUEST_REFUSED);
    vmcs_clear_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "debug controls are always loaded");
    SWEEP_VALUES(&tally, GUEST_DR7, ENTRY_RAN, ~(u64)0);
    must_tally(&tally);
}

CHECK(sysenter, "E-27/sysenter", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry fails when guest IA32_SYSENTER_ESP or IA32_SYSENTER_EIP is not canonical")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_IA32_SYSENTER_ESP, beyond_linear_addresses(), GUEST_REFUSED);
    sweep_bits(&tally, GUEST_IA32_SYSENTER_EIP, beyond_linear_addresses(), GUEST_REFUSED);
    SWEEP_VALUES(&tally, GUEST_IA32_SYSENTER_ESP, ENTRY_RAN, CANONICAL_HIGH);
    SWEEP_VALUES(&tally, GUEST_IA32_SYSENTER_EIP, ENTRY_RAN, CANONICAL_HIGH);
    must_tally(&tally);
}

CHECK(pat, "E-27/pat", NEEDS_L2, SDM_GUEST_REGISTERS,
      "VM entry fails for each byte of guest IA32_PAT that is no memory type, if VM entry loads it")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write64(GUEST_IA32_PAT, ~(u64)0);
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_PAT, "no load of IA32_PAT by VM entry");
    for (u64 type = 0; type < 256; type++)
        SWEEP_VALUES(&tally, GUEST_IA32_PAT, is_memory_type(type) ? ENTRY_RAN : GUEST_REFUSED, type);
    for (u32 byte = 1; byte < 8; byte++)
        SWEEP_VALUES(&tally, GUEST_IA32_PAT, GUEST_REFUSED, (u64)2 << byte * 8, (u64)3 << byte * 8, (u64)8 << byte * 8,
                     (u64)0x80 << byte * 8);
    must_tally(&tally);
}
