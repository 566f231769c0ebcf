/* Host state: VM entry is refused with error 8 before it loads anything. */
#include "feature.h"
#include "l1_mode.h"
#include "stage.h"

enum { HOST_REFUSED = ENTRY_HOST_STATE_INVALID };

static void sweep_fixed(u64 reachable)
{
    struct tally tally = { 0 };
    u64 cr0 = fixed_otherwise(vmcs_read64(HOST_CR0), IA32_VMX_CR0_FIXED0, IA32_VMX_CR0_FIXED1, 0);
    u64 cr4 = fixed_otherwise(vmcs_read64(HOST_CR4), IA32_VMX_CR4_FIXED0, IA32_VMX_CR4_FIXED1, 0);
    sweep_bits(&tally, HOST_CR0, cr0 & reachable, HOST_REFUSED);
    sweep_bits(&tally, HOST_CR4, cr4 & reachable, HOST_REFUSED);
    must_tally(&tally);
}

CHECK(fixed_32, "E-25/fixed-bits", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry fails with error 8 for each bit of host CR0 and CR4 that VMX operation fixes to another value")
{
    entry_prepare();
    sweep_fixed(BITS(0, 31));
}

CHECK(fixed_64, "E-25/fixed-bits-64", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry from 64-bit mode fails with error 8 for each fixed bit of host CR0 and CR4, bits 63:32 included")
{
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_fixed(~(u64)0);
}

CHECK(cr3, "E-25/cr3", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry fails with error 8 for each bit of host CR3 beyond the physical-address width")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, HOST_CR3, beyond_physical_addresses(), HOST_REFUSED);
    must_tally(&tally);
}

CHECK(canonical, "E-25/canonical", NEEDS_L2, SDM_HOST_REGISTERS "; " SDM_HOST_SEGMENTS,
      "VM entry fails with error 8 for each host address that must be canonical and is not")
{
    static const u32 fields[] = { HOST_IA32_SYSENTER_ESP, HOST_IA32_SYSENTER_EIP, HOST_FS_BASE, HOST_GS_BASE,
                                  HOST_TR_BASE, HOST_GDTR_BASE, HOST_IDTR_BASE, HOST_RIP };
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++)
        sweep_bits(&tally, fields[index], beyond_linear_addresses(), HOST_REFUSED);
    SWEEP_VALUES(&tally, HOST_FS_BASE, ENTRY_RAN, CANONICAL_HIGH, 0x7FFFFFFFFFFF);
    must_tally(&tally);
}

#define PAT_OF_POWER_UP 0x0007040600070406u

CHECK(pat, "E-25/pat", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry fails with error 8 for each byte of host IA32_PAT that is no memory type, if VM exit loads it")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write64(HOST_IA32_PAT, ~(u64)0);
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_PAT, "no load of IA32_PAT by VM exit");
    vmcs_write64(HOST_IA32_PAT, PAT_OF_POWER_UP);
    tally_turn(&tally, PAT_OF_POWER_UP, entry_try(), ENTRY_RAN);
    for (u64 type = 0; type < 256; type++)
        if (!is_memory_type(type))
            SWEEP_VALUES(&tally, HOST_IA32_PAT, HOST_REFUSED, (PAT_OF_POWER_UP & ~(u64)0xFF) | type);
    for (u32 byte = 1; byte < 8; byte++)
        SWEEP_VALUES(&tally, HOST_IA32_PAT, HOST_REFUSED, (u64)2 << byte * 8, (u64)3 << byte * 8, (u64)8 << byte * 8,
                     (u64)0x80 << byte * 8);
    must_tally(&tally);
}

/* Bits of IA32_EFER that exist on every CPU with Intel 64: all others are reserved on some. */
#define EFER_RESERVED (~(u64)0 & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE) & ~BITS(12, 15))

CHECK(efer, "E-25/efer", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry fails with error 8 for each reserved bit of host IA32_EFER, and for LMA or LME of another mode")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write64(HOST_IA32_EFER, ~(u64)0);
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_EFER, "no load of IA32_EFER by VM exit");
    vmcs_write64(HOST_IA32_EFER, read_msr(IA32_EFER));
    sweep_bits(&tally, HOST_IA32_EFER, EFER_RESERVED | EFER_LME | EFER_LMA, HOST_REFUSED);
    SWEEP_VALUES(&tally, HOST_IA32_EFER, HOST_REFUSED, EFER_LME | EFER_LMA);
    must_tally(&tally);
}

CHECK(efer_64, "E-25/efer-64", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM entry from 64-bit mode fails with error 8 when host IA32_EFER lacks LMA or LME")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_EFER, "no load of IA32_EFER by VM exit");
    SWEEP_VALUES(&tally, HOST_IA32_EFER, HOST_REFUSED, 0, EFER_LME, EFER_LMA);
    SWEEP_VALUES(&tally, HOST_IA32_EFER, ENTRY_RAN, read_msr(IA32_EFER));
    must_tally(&tally);
}

CHECK(selectors, "E-26/selectors", NEEDS_L2, SDM_HOST_SEGMENTS,
      "VM entry fails with error 8 for each host selector with a TI or RPL bit, and for CS, SS or TR 0")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 field = HOST_ES_SELECTOR; field <= HOST_TR_SELECTOR; field += FIELD_STEP)
        sweep_bits(&tally, field, BITS(0, 2), HOST_REFUSED);
    SWEEP_VALUES(&tally, HOST_CS_SELECTOR, HOST_REFUSED, 0);
    SWEEP_VALUES(&tally, HOST_SS_SELECTOR, HOST_REFUSED, 0);
    SWEEP_VALUES(&tally, HOST_TR_SELECTOR, HOST_REFUSED, 0);
    SWEEP_VALUES(&tally, HOST_FS_SELECTOR, ENTRY_RAN, 0);
    SWEEP_VALUES(&tally, HOST_GS_SELECTOR, ENTRY_RAN, 0);
    must_tally(&tally);
}

CHECK(selectors_64, "E-26/selectors-64", NEEDS_L2, SDM_HOST_SEGMENTS,
      "VM entry from 64-bit mode fails with error 8 for each host selector with a TI or RPL bit, and for CS or TR 0")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    for (u32 field = HOST_ES_SELECTOR; field <= HOST_TR_SELECTOR; field += FIELD_STEP)
        sweep_bits(&tally, field, BITS(0, 2), HOST_REFUSED);
    SWEEP_VALUES(&tally, HOST_CS_SELECTOR, HOST_REFUSED, 0);
    SWEEP_VALUES(&tally, HOST_TR_SELECTOR, HOST_REFUSED, 0);
    must_tally(&tally);
}

CHECK(size_32, "E-19/host-size-32", NEEDS_L2, SDM_ADDRESS_SPACE,
      "VM entry from outside IA-32e mode fails with error 8 for a 64-bit host address space")
{
    entry_prepare();
    vmcs_set_controls(VM_EXIT_CONTROLS, HOST_ADDRESS_SPACE_SIZE, "no 64-bit host address space");
    vmcs_write(HOST_CR4, read_cr4() | CR4_PAE);
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(size_64, "E-19/host-size-64", NEEDS_L2, SDM_ADDRESS_SPACE,
      "VM entry from IA-32e mode fails with error 8 for a host address space that is not 64-bit")
{
    entry_prepare();
    l1_in_64_bit_mode();
    vmcs_clear_controls(VM_EXIT_CONTROLS, HOST_ADDRESS_SPACE_SIZE, "the host address space is 64-bit always");
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(guest_size, "E-19/guest-size", NEEDS_L2, SDM_ADDRESS_SPACE,
      "VM entry from outside IA-32e mode fails with error 8 for a guest in IA-32e mode")
{
    entry_prepare();
    vmcs_set_controls(VM_ENTRY_CONTROLS, IA32E_MODE_GUEST, "no guests in IA-32e mode");
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(pcide, "E-19/pcide", NEEDS_L2, SDM_ADDRESS_SPACE,
      "VM entry from outside IA-32e mode fails with error 8 for host CR4.PCIDE=1")
{
    entry_prepare();
    need(FEATURE_PCID);
    vmcs_write(HOST_CR4, read_cr4() | CR4_PCIDE);
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(pae, "E-19/pae", NEEDS_L2, SDM_ADDRESS_SPACE,
      "VM entry from IA-32e mode fails with error 8 for host CR4.PAE=0")
{
    entry_prepare();
    l1_in_64_bit_mode();
    vmcs_write(HOST_CR4, read_cr4() & ~CR4_PAE);
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(size_control, "E-19/control", NEEDS_L2, SDM_ADDRESS_SPACE,
      "Control: VM entry from IA-32e mode succeeds for a guest outside IA-32e mode")
{
    entry_prepare();
    l1_in_64_bit_mode();
    must_enter();
}
