/* What VM exit saves of what L2 changed. */
#include "state.h"

enum { BASE = 0x123450, LIMIT = 0x4321, DR7_SOME = 0x455, DR7_FIXED = 0x400 };
__attribute__((used)) const struct descriptor_pointer tables_to_load = { LIMIT, BASE };
L2_CODE(load_tables, "lgdt tables_to_load; lidt tables_to_load");
L2_CODE(load_segment, "movl $0x20, %eax; movl %eax, %fs");
L2_CODE(load_ldtr, "movl $0x20, %eax; lldt %ax");
L2_CODE(load_dr7, "movl $0x455, %eax; movl %eax, %dr7");
L2_CODE(load_cr3, "movl $0x7000, %eax; movl %eax, %cr3");
L2_CODE(load_flags, "pushl $0x247002; popfl");
L2_CODE(load_esp, "movl $0x12344, %esp");

CHECK(tables_saved, "E-36/descriptor-tables", NEEDS_L2, SDM_SAVING_SEGMENTS,
      "VM exit stores the GDTR and IDTR that L2 loaded")
{
    l2_prepare(load_tables.start);
    struct vm_exit exit = l2_try(&load_tables);
    must("gdtr_base", vmcs_read(GUEST_GDTR_BASE), BASE);
    must("gdtr_limit", vmcs_read(GUEST_GDTR_LIMIT), LIMIT);
    must("idtr_base", vmcs_read(GUEST_IDTR_BASE), BASE);
    must("idtr_limit", vmcs_read(GUEST_IDTR_LIMIT), LIMIT);
    must_execute(&exit, &load_tables);
}

CHECK(segment_saved, "E-36/segment", NEEDS_L2, SDM_SAVING_SEGMENTS,
      "VM exit stores selector, base, limit and access rights of the FS that L2 loaded")
{
    l2_prepare(load_segment.start);
    gdt_write(SELECTOR_SPARE, (u64)0x12 << 56 | (u64)0x40F3 << 40 | (u64)0x345678 << 16 | 0x4321);
    struct vm_exit exit = l2_try(&load_segment);
    must("fs_selector", vmcs_read(GUEST_FS_SELECTOR), SELECTOR_SPARE);
    must("fs_base", vmcs_read(GUEST_FS_BASE), 0x12345678);
    must("fs_limit", vmcs_read(GUEST_FS_LIMIT), 0x4321);
    must("fs_access_rights", vmcs_read(GUEST_FS_ACCESS_RIGHTS), 0x40F3);
    must_execute(&exit, &load_segment);
}

/* Each data segment register gets a descriptor of its own. */
L2_CODE(load_segments, "movl $0xA0, %eax; movl %eax, %es; movl $0xA8, %eax; movl %eax, %ss; movl $0xB0, %eax\n"
                       "movl %eax, %ds; movl $0xB8, %eax; movl %eax, %fs; movl $0xC0, %eax; movl %eax, %gs");
L2_CODE(load_tr, "movl $0x20, %eax; ltr %ax");

CHECK(segments_saved, "E-36/each-segment", NEEDS_L2, SDM_SAVING_SEGMENTS,
      "VM exit stores selector, base, limit and access rights of each data segment register that L2 loaded")
{
    enum { FIRST = 0xA0 };
    struct tally tally = { 0 };
    u32 number = 0;
    l2_prepare(load_segments.start);
    for (u32 selector = FIRST; selector <= FIRST + 0x20; selector += 8, number++)
        gdt_write((u16)selector, (u64)(0x1000000 * number) << 32 | (u64)0x4093 << 40 |
                                     (u64)(0x100 * number) << 16 | (0x7F00 | number));
    struct vm_exit exit = l2_try(&load_segments);
    number = 0;
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP) {
        if (step == SEGMENT_CS * FIELD_STEP)
            continue;
        tally_turn(&tally, step << 4, vmcs_read(GUEST_ES_SELECTOR + step), FIRST + 8 * number);
        tally_turn(&tally, step << 4 | 1, vmcs_read(GUEST_ES_BASE + step), 0x1000000 * number | 0x100 * number);
        tally_turn(&tally, step << 4 | 2, vmcs_read(GUEST_ES_LIMIT + step), 0x7F00 | number);
        tally_turn(&tally, step << 4 | 3, vmcs_read(GUEST_ES_ACCESS_RIGHTS + step), 0x4093);
        number++;
    }
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must_tally(&tally);
}

CHECK(tr_saved, "E-36/tr", NEEDS_L2, SDM_SAVING_SEGMENTS, "VM exit stores the TR that L2 loaded, which is busy")
{
    l2_prepare(load_tr.start);
    gdt_write(SELECTOR_SPARE, (u64)0x89 << 40 | (u64)0x345678 << 16 | 0xFF);
    struct vm_exit exit = l2_try(&load_tr);
    must("tr_selector", vmcs_read(GUEST_TR_SELECTOR), SELECTOR_SPARE);
    must("tr_base", vmcs_read(GUEST_TR_BASE), 0x345678);
    must("tr_limit", vmcs_read(GUEST_TR_LIMIT), 0xFF);
    must("tr_access_rights", vmcs_read(GUEST_TR_ACCESS_RIGHTS), 0x8B);
    must_execute(&exit, &load_tr);
}

CHECK(ldtr_saved, "E-36/ldtr", NEEDS_L2, SDM_SAVING_SEGMENTS, "VM exit stores the LDTR that L2 loaded")
{
    l2_prepare(load_ldtr.start);
    gdt_write(SELECTOR_SPARE, (u64)0x82 << 40 | (u64)0x345678 << 16 | 0xFF);
    struct vm_exit exit = l2_try(&load_ldtr);
    must("ldtr_selector", vmcs_read(GUEST_LDTR_SELECTOR), SELECTOR_SPARE);
    must("ldtr_base", vmcs_read(GUEST_LDTR_BASE), 0x345678);
    must("ldtr_limit", vmcs_read(GUEST_LDTR_LIMIT), 0xFF);
    must("ldtr_access_rights", vmcs_read(GUEST_LDTR_ACCESS_RIGHTS), 0x82);
    must_execute(&exit, &load_ldtr);
}

CHECK(registers_saved, "E-36/registers", NEEDS_L2, "Saving RIP, RSP, RFLAGS, and SSP (Vol. 3, 28.3.3)",
      "VM exit stores the RSP, RFLAGS and CR3 that L2 loaded")
{
    l2_prepare(load_esp.start);
    must("rsp", l2_try(&load_esp).rsp, 0x12344);
    l2_prepare(load_flags.start);
    must("rflags", l2_try(&load_flags).rflags, 0x247002);
    l2_prepare(load_cr3.start);
    must("cr3", l2_try(&load_cr3).cr3, 0x7000);
}

CHECK(dr7_saved, "E-36/dr7", NEEDS_L2, SDM_SAVING_REGISTERS,
      "VM exit stores the DR7 that L2 loaded when the control says so, and leaves the field when it does not")
{
    l2_prepare(load_dr7.start);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "no load of debug controls");
    vmcs_clear_controls(VM_EXIT_CONTROLS, SAVE_DEBUG_CONTROLS, "debug controls are always saved");
    l2_try(&load_dr7);
    u32 left = vmcs_read(GUEST_DR7);
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_DEBUG_CONTROLS, "no save of debug controls");
    struct vm_exit exit = l2_try(&load_dr7);
    must("dr7_left", left, DR7_FIXED);
    must("dr7_saved", vmcs_read(GUEST_DR7), DR7_SOME);
    must_execute(&exit, &load_dr7);
}

CHECK(sysenter_saved, "E-36/sysenter", NEEDS_L2, SDM_SAVING_REGISTERS,
      "VM exit stores the IA32_SYSENTER MSRs that L2 wrote")
{
    prepare_with_msrs();
    write_msr_of_l2(IA32_SYSENTER_CS, 0x1238);
    write_msr_of_l2(IA32_SYSENTER_ESP, 0x11111);
    write_msr_of_l2(IA32_SYSENTER_EIP, 0x22222);
    must("sysenter_cs", vmcs_read(GUEST_IA32_SYSENTER_CS), 0x1238);
    must("sysenter_esp", vmcs_read(GUEST_IA32_SYSENTER_ESP), 0x11111);
    must("sysenter_eip", vmcs_read(GUEST_IA32_SYSENTER_EIP), 0x22222);
}

CHECK(pat_saved, "E-36/pat", NEEDS_L2, SDM_SAVING_REGISTERS,
      "VM exit stores the IA32_PAT that L2 wrote when the control says so, and leaves the field when it does not")
{
    u64 pat = read_msr(IA32_PAT);
    prepare_with_msrs();
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_PAT, "no load of IA32_PAT by VM exit");
    vmcs_write64(HOST_IA32_PAT, pat);
    vmcs_write64(GUEST_IA32_PAT, PAT_1);
    write_msr_of_l2(IA32_PAT, PAT_2);
    u64 left = vmcs_read64(GUEST_IA32_PAT);
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_IA32_PAT, "no save of IA32_PAT by VM exit");
    write_msr_of_l2(IA32_PAT, PAT_2);
    must("pat_left", left, PAT_1);
    must("pat_saved", vmcs_read64(GUEST_IA32_PAT), PAT_2);
    must("pat_of_l1", read_msr(IA32_PAT), pat);
}

CHECK(efer_saved, "E-36/efer", NEEDS_L2, SDM_SAVING_REGISTERS,
      "VM exit stores the IA32_EFER that L2 wrote when the control says so, and leaves the field when it does not")
{
    u64 efer = read_msr(IA32_EFER);
    prepare_with_msrs();
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_EFER, "no load of IA32_EFER by VM exit");
    vmcs_write64(HOST_IA32_EFER, efer);
    vmcs_write64(GUEST_IA32_EFER, 0);
    write_msr_of_l2(IA32_EFER, EFER_SCE);
    u64 left = vmcs_read64(GUEST_IA32_EFER);
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_IA32_EFER, "no save of IA32_EFER by VM exit");
    write_msr_of_l2(IA32_EFER, EFER_SCE);
    must("efer_left", left, 0);
    must("efer_saved", vmcs_read64(GUEST_IA32_EFER), EFER_SCE);
    must("efer_of_l1", read_msr(IA32_EFER), efer);
}

/* The "IA-32e mode guest" control holds IA32_EFER.LMA after a VM exit. */
L2_CODE(set_pg, "movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0");
L2_CODE(clear_pg, "movl %cr0, %eax; andl $0x7FFFFFFF, %eax; movl %eax, %cr0");

CHECK(mode_entered, "E-15/entered", NEEDS_L2, SDM_SAVING_OTHER,
      "VM exit sets the control for guests in IA-32e mode when L2 has entered IA-32e mode")
{
    l2_prepare(set_pg.start);
    l2_use_4_level_paging();
    u32 before = vmcs_read(VM_ENTRY_CONTROLS) & IA32E_MODE_GUEST;
    struct vm_exit exit = l2_try(&set_pg);
    must("control_before", before, 0);
    must("control_after", vmcs_read(VM_ENTRY_CONTROLS) & IA32E_MODE_GUEST, IA32E_MODE_GUEST);
    must("efer_saved", vmcs_read64(GUEST_IA32_EFER) & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
    must_execute(&exit, &set_pg);
}

CHECK(mode_left, "E-15/left", NEEDS_L2, SDM_SAVING_OTHER,
      "VM exit clears the control for guests in IA-32e mode when L2 has left IA-32e mode")
{
    l2_prepare(clear_pg.start);
    l2_use_4_level_paging();
    vmcs_set_controls(VM_ENTRY_CONTROLS, IA32E_MODE_GUEST, "no guests in IA-32e mode");
    vmcs_write64(GUEST_IA32_EFER, EFER_LME | EFER_LMA);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    struct vm_exit exit = l2_try(&clear_pg);
    must("control_after", vmcs_read(VM_ENTRY_CONTROLS) & IA32E_MODE_GUEST, 0);
    must("efer_saved", vmcs_read64(GUEST_IA32_EFER) & (EFER_LMA | EFER_LME), EFER_LME);
    must_execute(&exit, &clear_pg);
}
