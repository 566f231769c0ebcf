/* What VM exit loads: the host state, as L1 sees it afterwards. */
#include "l1_mode.h"
#include "state.h"

L2_CODE(nothing, "nop");
enum { DR7_FIXED = 0x400, DR7_SOME = 0x455, BRANCH_TRACE = 1 << 1 };
enum { RFLAGS_FIXED = 2, RFLAGS_SOME = 3 << 12 | 1 << 14 | 1 << 18 | 1 << 21 }; /* IOPL, NT, AC, ID */
static u32 words[2] = { 0x1F1F, 0x2F2F };

CHECK(tables, "E-35/descriptor-tables", NEEDS_L2, SDM_HOST_SEGMENTS,
      "VM exit loads GDTR and IDTR with the bases of the host state and limits of FFFFH")
{
    struct descriptor_pointer gdtr = read_gdtr(), idtr = read_idtr();
    l2_prepare(nothing.start);
    write_gdtr(&(struct descriptor_pointer){ 0xFF, gdtr.base });
    write_idtr(&(struct descriptor_pointer){ 0xFF, idtr.base });
    vmcs_write(GUEST_GDTR_LIMIT, 0x7F);
    vmcs_write(GUEST_IDTR_LIMIT, 0x7F);
    struct vm_exit exit = l2_try(&nothing);
    struct descriptor_pointer gdtr_after = read_gdtr(), idtr_after = read_idtr();
    write_gdtr(&gdtr);
    write_idtr(&idtr);
    must("gdtr_base", gdtr_after.base, gdtr.base);
    must("gdtr_limit", gdtr_after.limit, 0xFFFF);
    must("idtr_base", idtr_after.base, idtr.base);
    must("idtr_limit", idtr_after.limit, 0xFFFF);
    must_execute(&exit, &nothing);
}

static u32 read_at_fs(void)
{
    u32 value;
    asm volatile("movl %%fs:0, %0" : "=r"(value));
    return value;
}

static u32 read_at_gs(void)
{
    u32 value;
    asm volatile("movl %%gs:0, %0" : "=r"(value));
    return value;
}

CHECK(segments, "E-35/segments", NEEDS_L2, SDM_HOST_SEGMENTS,
      "VM exit loads the selectors of the host state, and the bases of FS and GS")
{
    l2_prepare(nothing.start);
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP)
        if (step != SEGMENT_CS * FIELD_STEP && step != 2 * FIELD_STEP)
            vmcs_write(GUEST_ES_SELECTOR + step, SELECTOR_USER_DATA);
    vmcs_write(GUEST_FS_BASE, 0x1000);
    vmcs_write(GUEST_GS_BASE, 0x1000);
    vmcs_write(HOST_ES_SELECTOR, SELECTOR_DATA);
    vmcs_write(HOST_FS_SELECTOR, SELECTOR_USER_DATA & ~7u);
    vmcs_write(HOST_FS_BASE, address_of(&words[0]));
    vmcs_write(HOST_GS_BASE, address_of(&words[1]));
    struct vm_exit exit = l2_try(&nothing);
    u32 cs = read_cs(), ss = read_ss(), ds = read_ds(), es = read_es(), fs = read_fs(), gs = read_gs();
    u32 at_fs = read_at_fs(), at_gs = read_at_gs();
    asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(SELECTOR_DATA));
    must("cs", cs, SELECTOR_CODE);
    must("ss", ss, SELECTOR_DATA);
    must("ds", ds, SELECTOR_DATA);
    must("es", es, SELECTOR_DATA);
    must("fs", fs, SELECTOR_USER_DATA & ~7u);
    must("gs", gs, SELECTOR_DATA);
    must("read_through_fs", at_fs, words[0]);
    must("read_through_gs", at_gs, words[1]);
    must_execute(&exit, &nothing);
}

CHECK(flags, "E-35/rflags", NEEDS_L2, "Loading Host RIP, RSP, RFLAGS, and SSP (Vol. 3, 28.5.3)",
      "VM exit clears all flags but the one that is fixed to 1")
{
    l2_prepare(nothing.start);
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_SOME);
    struct vm_exit exit = l2_try(&nothing);
    must("eflags", read_eflags() & RFLAGS_SOME, 0);
    must("saved_rflags", exit.rflags & RFLAGS_SOME, RFLAGS_SOME);
    must_execute(&exit, &nothing);
}

CHECK(debug, "E-35/debug-registers", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit loads DR7 with 400H and clears IA32_DEBUGCTL")
{
    l2_prepare(nothing.start);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "no load of debug controls");
    vmcs_write(GUEST_DR7, DR7_SOME);
    vmcs_write64(GUEST_IA32_DEBUGCTL, BRANCH_TRACE);
    struct vm_exit exit = l2_try(&nothing);
    u32 dr7 = read_dr7();
    u64 debugctl = read_msr(IA32_DEBUGCTL);
    asm volatile("mov %0, %%dr7" : : "r"(DR7_FIXED));
    must("dr7", dr7, DR7_FIXED);
    must("ia32_debugctl", debugctl, 0);
    must_execute(&exit, &nothing);
}

CHECK(sysenter, "E-35/sysenter", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit loads the IA32_SYSENTER MSRs from the host state")
{
    static const u32 msrs[] = { IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP };
    static const char *const names[] = { "sysenter_cs", "sysenter_esp", "sysenter_eip" };
    u64 before[ARRAY_SIZE(msrs)];
    for (u32 index = 0; index < ARRAY_SIZE(msrs); index++)
        before[index] = read_msr(msrs[index]);
    l2_prepare(nothing.start);
    vmcs_write(GUEST_IA32_SYSENTER_CS, 0x1238);
    vmcs_write(GUEST_IA32_SYSENTER_ESP, 0x11111);
    vmcs_write(GUEST_IA32_SYSENTER_EIP, 0x22222);
    vmcs_write(HOST_IA32_SYSENTER_CS, 0x4568);
    vmcs_write(HOST_IA32_SYSENTER_ESP, 0x33333);
    vmcs_write(HOST_IA32_SYSENTER_EIP, 0x44444);
    static const u32 required[] = { 0x4568, 0x33333, 0x44444 };
    struct vm_exit exit = l2_try(&nothing);
    for (u32 index = 0; index < ARRAY_SIZE(msrs); index++) {
        must(names[index], read_msr(msrs[index]), required[index]);
        write_msr(msrs[index], before[index]);
    }
    must_execute(&exit, &nothing);
}

/* The host field with one bit changed: L1 must have it afterwards. */
static void sweep_register(struct tally *tally, u32 field, u32 bits, u32 (*read)(void), void (*write)(u32 value))
{
    u32 home = vmcs_read(field);
    for (u32 bit = 1; bit; bit <<= 1) {
        if (!(bits & bit))
            continue;
        vmcs_write(field, home ^ bit);
        struct vm_exit exit = l2_try(&nothing);
        u32 seen = read();
        write(home);
        tally_turn(tally, home ^ bit, executed(&exit, &nothing) ? seen : ~(u64)0, home ^ bit);
    }
    vmcs_write(field, home);
}

CHECK(cr0, "E-35/cr0", NEEDS_L2, SDM_HOST_REGISTERS, "VM exit loads MP, EM, TS, WP and AM of CR0 from the host state")
{
    struct tally tally = { 0 };
    l2_prepare(nothing.start);
    sweep_register(&tally, HOST_CR0, CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM, read_cr0, write_cr0);
    must_tally(&tally);
}

CHECK(cr4, "E-35/cr4", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit loads each bit of CR4 that the CPU has from the host state, outside IA-32e mode and with 32-bit paging")
{
    struct tally tally = { 0 };
    u32 others = CR4_PAE | CR4_PSE | CR4_VMXE | CR4_PCIDE | CR4_LA57 | CR4_CET;
    l2_prepare(nothing.start);
    sweep_register(&tally, HOST_CR4, (u32)read_msr(IA32_VMX_CR4_FIXED1) & ~others, read_cr4, write_cr4);
    must_tally(&tally);
}

CHECK(cr3, "E-35/cr3", NEEDS_L2, SDM_HOST_REGISTERS, "VM exit loads CR3 from the host state")
{
    static u32 directory[1024] PAGE_ALIGNED;
    u32 cr3 = read_cr3();
    identity_32_bit(directory);
    l2_prepare(nothing.start);
    vmcs_write(HOST_CR3, address_of(directory));
    struct vm_exit exit = l2_try(&nothing);
    u32 seen = read_cr3();
    write_cr3(cr3);
    must("l1_cr3", seen, address_of(directory));
    must_execute(&exit, &nothing);
}

CHECK(pat, "E-35/pat", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit loads IA32_PAT from the host state when the control says so, and leaves that of L2 when it does not")
{
    u64 pat = read_msr(IA32_PAT);
    l2_prepare(nothing.start);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_PAT, "no load of IA32_PAT by VM entry");
    vmcs_write64(GUEST_IA32_PAT, PAT_2);
    vmcs_write64(HOST_IA32_PAT, PAT_1);
    struct vm_exit exit = l2_try(&nothing);
    u64 left = read_msr(IA32_PAT);
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_PAT, "no load of IA32_PAT by VM exit");
    exit = l2_try(&nothing);
    u64 loaded = read_msr(IA32_PAT);
    write_msr(IA32_PAT, pat);
    must("pat_left", left, PAT_2);
    must("pat_loaded", loaded, PAT_1);
    must_execute(&exit, &nothing);
}

CHECK(efer, "E-35/efer", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit loads IA32_EFER from the host state when the control says so, or else clears LME and keeps SCE of L2")
{
    u64 efer = read_msr(IA32_EFER);
    l2_prepare(nothing.start);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
    vmcs_write64(GUEST_IA32_EFER, EFER_SCE | EFER_LME);
    vmcs_write64(HOST_IA32_EFER, 0);
    struct vm_exit exit = l2_try(&nothing);
    u64 left = read_msr(IA32_EFER);
    vmcs_set_controls(VM_EXIT_CONTROLS, EXIT_LOADS_IA32_EFER, "no load of IA32_EFER by VM exit");
    exit = l2_try(&nothing);
    u64 loaded = read_msr(IA32_EFER);
    write_msr(IA32_EFER, efer);
    must("efer_left", left, EFER_SCE);
    must("efer_loaded", loaded, 0);
    must_execute(&exit, &nothing);
}

CHECK(long_mode, "E-19/exit-64-bit", NEEDS_L2, SDM_HOST_REGISTERS,
      "VM exit to a 64-bit L1 from an L2 outside IA-32e mode sets LMA and LME and loads CR4.PAE")
{
    l2_prepare(nothing.start);
    l1_in_64_bit_mode();
    struct vm_exit exit = l2_try(&nothing);
    must("efer", read_msr(IA32_EFER) & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
    must("cr4_pae", read_cr4() & CR4_PAE, CR4_PAE);
    must_execute(&exit, &nothing);
}

/* Fields of natural width with bits above 31, which a 64-bit hypervisor alone can write. */
enum { IA32_FS_BASE = 0xC0000100, IA32_GS_BASE = 0xC0000101 };
static const struct wide {
    u32 host, guest, msr;
    u64 value;
} wide[] = {
    { HOST_FS_BASE, GUEST_FS_BASE, IA32_FS_BASE, 0x123456789ABC },
    { HOST_GS_BASE, GUEST_GS_BASE, IA32_GS_BASE, 0xFFFF923456789ABC },
    { HOST_IA32_SYSENTER_ESP, GUEST_IA32_SYSENTER_ESP, IA32_SYSENTER_ESP, 0xFFFF9A3456789AB0 },
    { HOST_IA32_SYSENTER_EIP, GUEST_IA32_SYSENTER_EIP, IA32_SYSENTER_EIP, 0x7A3456789AC8 },
};

CHECK(wide_host, "E-35/64-bit-bases", NEEDS_L2, SDM_HOST_REGISTERS "; " SDM_HOST_SEGMENTS,
      "VM exit to a 64-bit L1 loads all 64 bits of the bases of FS and GS and of the IA32_SYSENTER MSRs")
{
    u64 before[ARRAY_SIZE(wide)], after[ARRAY_SIZE(wide)];
    struct tally tally = { 0 };
    l2_prepare(nothing.start);
    l1_in_64_bit_mode();
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++) {
        before[index] = read_msr(wide[index].msr);
        vmcs_write64(wide[index].host, wide[index].value);
    }
    struct vm_exit exit = l2_try(&nothing);
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++) {
        after[index] = read_msr(wide[index].msr);
        write_msr(wide[index].msr, before[index]);
    }
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++)
        tally_turn(&tally, wide[index].msr, after[index], wide[index].value);
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must_tally(&tally);
}

CHECK(wide_guest, "E-38/64-bit-bases", NEEDS_L2, SDM_ENTRY_REGISTERS "; " SDM_ENTRY_SEGMENTS,
      "VM entry loads and VM exit saves all 64 bits of the bases of FS and GS and of the IA32_SYSENTER MSRs")
{
    struct tally tally = { 0 };
    prepare_with_msrs();
    l1_in_64_bit_mode();
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++)
        vmcs_write64(wide[index].guest, wide[index].value);
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++) {
        tally_turn(&tally, wide[index].msr, msr_of_l2(wide[index].msr), wide[index].value);
        tally_turn(&tally, wide[index].guest, vmcs_read64(wide[index].guest), wide[index].value);
    }
    for (u32 index = 0; index < ARRAY_SIZE(wide); index++) {
        write_msr_of_l2(wide[index].msr, wide[index].value ^ 0x5500000000);
        tally_turn(&tally, (u64)wide[index].guest << 32, vmcs_read64(wide[index].guest),
                   wide[index].value ^ 0x5500000000);
    }
    must_tally(&tally);
}
