/* Two VMCSs: VMPTRLD goes from one to the other, and each keeps its fields and its launch state. Besides, what the
   capability MSRs say of each other. */
#include "stage.h"

#include "feature.h"
#include "l2_code.h"

#define MANAGEMENT "Software Use of Virtual-Machine Control Structures (Vol. 3, 25.11)"
#define CAPABILITIES "VMX Capability Reporting Facility (Vol. 3, appendix A)"

static u32 second[PAGE_SIZE / 4] PAGE_ALIGNED;

static const u32 fields[] = {
#define FIELD_OF_TABLE(name, width, type, index) name,
    VMCS_FIELDS(FIELD_OF_TABLE)
};

static u32 written_first[ARRAY_SIZE(fields)], written_second[ARRAY_SIZE(fields)];

static void write_all(u32 *written, u32 step)
{
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++) {
        bool read_only = FIELD_TYPE(fields[index]) == FIELD_EXIT;
        written[index] = !read_only && vmx_vmwrite(fields[index], step + index) == VM_SUCCEED;
    }
}

static void tally_all(struct tally *tally, const u32 *written, u32 step)
{
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++)
        if (written[index])
            tally_turn(tally, fields[index] | (u64)step << 32, vmcs_read(fields[index]), step + index);
}

CHECK(both, "E-41/two-vmcs", NEEDS_L2, MANAGEMENT,
      "Each of two VMCSs has the fields that were written to it after VMPTRLD of the other, and after VMCLEAR")
{
    struct tally tally = { 0 };
    enum { FIRST = 0x1000, SECOND = 0x2000 }; /* bits 11:8 are reserved in access rights, which need not keep them */
    entry_prepare();
    second[0] = vmx_revision();
    write_all(written_first, FIRST);
    must("vmclear", vmx_vmclear(address_of(second)), VM_SUCCEED);
    must("vmptrld", vmx_vmptrld(address_of(second)), VM_SUCCEED);
    write_all(written_second, SECOND);
    vmx_load_vmcs();
    tally_all(&tally, written_first, FIRST);
    vmx_vmptrld(address_of(second));
    tally_all(&tally, written_second, SECOND);
    vmx_vmclear(vmx_regions().vmcs);
    vmx_load_vmcs();
    tally_all(&tally, written_first, FIRST);
    vmx_vmclear(address_of(second));
    must_tally(&tally);
}

CHECK(launch_state, "E-41/launch-state", NEEDS_L2, MANAGEMENT,
      "VMCLEAR makes a VMCS clear, be it current or not, and VMPTRLD leaves its launch state as it is")
{
    enum { NOT_CLEAR = 4, NOT_LAUNCHED = 5 };
    entry_prepare();
    must_enter();
    second[0] = vmx_revision();
    vmx_vmclear(address_of(second));
    vmx_vmptrld(address_of(second));
    must("vmresume_of_second", vmx_enter(VMRESUME, &(struct general_registers){ 0 }), NOT_LAUNCHED);
    vmx_load_vmcs();
    must("vmlaunch_of_first", vmx_enter(VMLAUNCH, &(struct general_registers){ 0 }), NOT_CLEAR);
    vmx_vmptrld(address_of(second));
    vmx_vmclear(vmx_regions().vmcs);
    vmx_load_vmcs();
    must("vmresume_of_first", vmx_enter(VMRESUME, &(struct general_registers){ 0 }), NOT_LAUNCHED);
    vmx_vmclear(address_of(second));
    vmx_clear_vmcs(); /* which is what the kit believes from now on */
    vmx_load_vmcs();
}

/* L2 runs by one VMCS and by the other: what the first exit saved is still there. */
L2_CODE(set_registers, "movl $0x10, %eax; movl %eax, %fs; movl $0x12340, %esp; pushl $2; popfl");
CHECK(state, "E-41/guest-state", NEEDS_L2, MANAGEMENT,
      "VM exit saves guest state in the VMCS that was entered, where VMREAD finds it after VMPTRLD of another and back")
{
    l2_prepare(set_registers.start);
    vmcs_write(GUEST_GS_BASE, 0x1234000);
    struct vm_exit exit = l2_run();
    second[0] = vmx_revision();
    vmx_vmclear(address_of(second));
    vmx_vmptrld(address_of(second));
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++)
        if (FIELD_TYPE(fields[index]) == FIELD_GUEST)
            vmx_vmwrite(fields[index], 0);
    vmx_load_vmcs();
    must("gs_base", vmcs_read(GUEST_GS_BASE), 0x1234000);
    must("rsp", vmcs_read(GUEST_RSP), 0x12340);
    must("fs_selector", vmcs_read(GUEST_FS_SELECTOR), SELECTOR_DATA);
    must("cs_limit", vmcs_read(GUEST_CS_LIMIT), 0xFFFFFFFF);
    vmx_vmclear(address_of(second));
    must_execute(&exit, &set_registers);
}

/* The MSRs of IA32_VMX_BASIC[55], which a hypervisor composes for L1. */
enum { TRUE_CONTROLS = 0x48D - IA32_VMX_PINBASED_CTLS, CONTROL_MSRS = 4 };
static const u32 default_settings[CONTROL_MSRS] = { 0x16, 0x401E172, 0x36DFF, 0x11FF };

CHECK(settings, "E-42/default-settings", NEEDS_L2, CAPABILITIES,
      "The capability MSRs of controls require all default settings, and their TRUE twins differ in nothing else")
{
    struct tally tally = { 0 };
    entry_prepare();
    if (!(read_msr(IA32_VMX_BASIC) >> 55 & 1))
        skip("no TRUE capability MSRs");
    for (u32 index = 0; index < CONTROL_MSRS; index++) {
        u64 plain = read_msr(IA32_VMX_PINBASED_CTLS + index);
        u64 exact = read_msr(IA32_VMX_PINBASED_CTLS + TRUE_CONTROLS + index);
        tally_turn(&tally, index << 4, plain & default_settings[index], default_settings[index]);
        tally_turn(&tally, index << 4 | 1, exact | default_settings[index], plain);
        tally_turn(&tally, index << 4 | 2, plain & ~(plain >> 32) & 0xFFFFFFFF, 0);
    }
    must_tally(&tally);
}

static void write_same(u32 index)
{
    write_msr(index, read_msr(index));
}

CHECK(msrs_read_only, "E-42/read-only", NEEDS_L2, CAPABILITIES,
      "WRMSR of each VMX capability MSR causes #GP(0), also with the value that it has")
{
    struct tally tally = { 0 };
    entry_prepare();
    u32 last = read_msr(IA32_VMX_BASIC) >> 55 & 1 ? 0x490 : 0x48A;
    for (u32 index = IA32_VMX_BASIC; index <= last; index++) {
        struct trap trap = trap_in(write_same, index);
        tally_turn(&tally, index, trap.taken ? trap.error_code << 8 | trap.vector : 0, VECTOR_GP);
    }
    must_tally(&tally);
}

static void write_cr4_of(u32 value)
{
    write_cr4(value);
}

/* The features that CR4 bits belong to. */
CHECK(cr4_fixed1, "E-42/cr4-fixed1", NEEDS_L2, CAPABILITIES "; CR4 in VMX Operation (Vol. 3, 24.8)",
      "IA32_VMX_CR4_FIXED1 allows each bit of CR4 whose feature CPUID reports, and MOV to CR4 sets it in VMX operation")
{
    static const struct {
        u32 bit;
        struct feature feature;
    } bits[] = {
        { CR4_VME, FEATURE_VME },           { CR4_DE, FEATURE_DE },         { CR4_PSE, FEATURE_PSE },
        { CR4_PAE, FEATURE_PAE },           { CR4_PGE, FEATURE_PGE },       { CR4_OSFXSR, FEATURE_FXSR },
        { CR4_FSGSBASE, FEATURE_FSGSBASE }, { CR4_OSXSAVE, FEATURE_XSAVE }, { CR4_SMEP, FEATURE_SMEP },
        { CR4_SMAP, FEATURE_SMAP },         { CR4_UMIP, FEATURE_UMIP },
    };
    struct tally tally = { 0 };
    entry_prepare();
    u32 allowed = (u32)read_msr(IA32_VMX_CR4_FIXED1), cr4 = read_cr4();
    for (u32 index = 0; index < ARRAY_SIZE(bits); index++) {
        bool present = has(bits[index].feature);
        tally_turn(&tally, bits[index].bit, allowed & bits[index].bit, present ? bits[index].bit : 0);
        if (!present || bits[index].bit == CR4_PAE)
            continue;
        struct trap trap = trap_in(write_cr4_of, cr4 | bits[index].bit);
        tally_turn(&tally, (u64)bits[index].bit << 32, trap.taken || !(read_cr4() & bits[index].bit), false);
        write_cr4(cr4);
    }
    must_tally(&tally);
}
