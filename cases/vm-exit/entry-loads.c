/* What VM entry loads, as L2 sees it. */
#include "state.h"

static const u32 words[2] = { 0xF5F5, 0x6565 };
enum { RFLAGS_FIXED = 2, RFLAGS_SOME = 1 << 2 | 3 << 12 | 1 << 14 | 1 << 18 | 1 << 21 }; /* PF, IOPL, NT, AC, ID */
enum { DR7_FIXED = 0x400, DR7_SOME = 0x455, LDT = 0x82 };

CHECK(selectors, "E-38/segments", NEEDS_L2, SDM_ENTRY_SEGMENTS,
      "VM entry loads selectors, FS and GS bases, GDTR and IDTR from their fields")
{
    observe_prepare();
    vmcs_write(GUEST_ES_SELECTOR, 0x40);
    vmcs_write(GUEST_FS_SELECTOR, 0x48);
    vmcs_write(GUEST_GS_SELECTOR, 0x50);
    vmcs_write(GUEST_FS_BASE, address_of(&words[0]));
    vmcs_write(GUEST_GS_BASE, address_of(&words[1]));
    vmcs_write(GUEST_LDTR_SELECTOR, SELECTOR_SPARE);
    vmcs_write(GUEST_LDTR_LIMIT, 0xFF);
    vmcs_write(GUEST_LDTR_ACCESS_RIGHTS, LDT);
    vmcs_write(GUEST_TR_SELECTOR, 0x60);
    vmcs_write(GUEST_GDTR_BASE, 0x123458);
    vmcs_write(GUEST_GDTR_LIMIT, 0x777);
    vmcs_write(GUEST_IDTR_LIMIT, 0xF1F);
    u32 idt = vmcs_read(GUEST_IDTR_BASE);
    observe();
    must("es", l2_state.selectors[0], 0x40);
    must("cs", l2_state.selectors[1], SELECTOR_CODE);
    must("ss", l2_state.selectors[2], SELECTOR_DATA);
    must("ds", l2_state.selectors[3], SELECTOR_DATA);
    must("fs", l2_state.selectors[4], 0x48);
    must("gs", l2_state.selectors[5], 0x50);
    must("read_through_fs", l2_state.fs_word, words[0]);
    must("read_through_gs", l2_state.gs_word, words[1]);
    must("ldtr", l2_state.ldtr & 0xFFFF, SELECTOR_SPARE);
    must("tr", l2_state.tr & 0xFFFF, 0x60);
    must("gdtr_base", l2_state.gdtr.base, 0x123458);
    must("gdtr_limit", l2_state.gdtr.limit, 0x777);
    must("idtr_base", l2_state.idtr.base, idt);
    must("idtr_limit", l2_state.idtr.limit, 0xF1F);
}

CHECK(flags, "E-38/rflags", NEEDS_L2, SDM_ENTRY_RIP, "VM entry loads RFLAGS from its field")
{
    observe_prepare();
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_SOME);
    observe();
    must("eflags", l2_state.eflags, RFLAGS_FIXED | RFLAGS_SOME);
}

CHECK(dr7, "E-38/dr7", NEEDS_L2, SDM_ENTRY_REGISTERS,
      "VM entry loads DR7 from its field when the control says so, and keeps that of L1 when it does not")
{
    observe_prepare();
    vmcs_write(GUEST_DR7, DR7_SOME);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "no load of debug controls");
    observe();
    u32 loaded = l2_state.dr7;
    vmcs_write(GUEST_DR7, DR7_SOME);
    vmcs_clear_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "debug controls are always loaded");
    observe();
    must("dr7_loaded", loaded, DR7_SOME);
    must("dr7_kept", l2_state.dr7, DR7_FIXED);
}

CHECK(sysenter, "E-38/sysenter", NEEDS_L2, SDM_ENTRY_REGISTERS,
      "VM entry loads the IA32_SYSENTER MSRs from their fields")
{
    prepare_with_msrs();
    vmcs_write(GUEST_IA32_SYSENTER_CS, 0x1238);
    vmcs_write(GUEST_IA32_SYSENTER_ESP, 0x11111);
    vmcs_write(GUEST_IA32_SYSENTER_EIP, 0x22222);
    must("sysenter_cs", msr_of_l2(IA32_SYSENTER_CS), 0x1238);
    must("sysenter_esp", msr_of_l2(IA32_SYSENTER_ESP), 0x11111);
    must("sysenter_eip", msr_of_l2(IA32_SYSENTER_EIP), 0x22222);
}

CHECK(pat, "E-38/pat", NEEDS_L2, SDM_ENTRY_REGISTERS,
      "VM entry loads IA32_PAT from its field when the control says so, and keeps that of L1 when it does not")
{
    u64 pat = read_msr(IA32_PAT);
    prepare_with_msrs();
    vmcs_write64(GUEST_IA32_PAT, PAT_2);
    u64 kept = msr_of_l2(IA32_PAT);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_PAT, "no load of IA32_PAT by VM entry");
    u64 loaded = msr_of_l2(IA32_PAT);
    write_msr(IA32_PAT, pat);
    must("pat_kept", kept, pat);
    must("pat_loaded", loaded, PAT_2);
}

CHECK(efer, "E-38/efer", NEEDS_L2, SDM_ENTRY_REGISTERS,
      "VM entry loads IA32_EFER from its field when the control says so, and keeps that of L1 when it does not")
{
    u64 efer = read_msr(IA32_EFER);
    prepare_with_msrs();
    vmcs_write64(GUEST_IA32_EFER, EFER_SCE | EFER_LME);
    u64 kept = msr_of_l2(IA32_EFER);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
    u64 loaded = msr_of_l2(IA32_EFER);
    write_msr(IA32_EFER, efer);
    must("efer_kept", kept, efer);
    must("efer_loaded", loaded, EFER_SCE | EFER_LME);
}
