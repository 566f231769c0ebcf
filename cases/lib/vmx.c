#include "vmx.h"

#include "cpu.h"
#include "feature.h"
#include "outcome.h"
#include "vmcs.h"

enum { IA32_FEATURE_CONTROL = 0x3A };
enum { FEATURE_CONTROL_LOCKED = 1 << 0, FEATURE_CONTROL_VMX_OUTSIDE_SMX = 1 << 2 };

#define EPT_CAPABILITIES_NEEDED \
    (EPT_CAPABILITY_WALK_4 | EPT_CAPABILITY_WRITE_BACK | EPT_CAPABILITY_2_MIB | EPT_CAPABILITY_INVEPT)

struct vmx_region {
    u32 revision;
    u8 data[PAGE_SIZE - 4];
} PAGE_ALIGNED;

static struct vmx_region vmxon_region, vmcs;
static bool in_operation, launched;

u64 ept_capabilities(void)
{
    return read_msr(IA32_VMX_EPT_VPID_CAP);
}

static bool may_set(u32 msr, u32 bit)
{
    return (u32)(read_msr(msr) >> 32) & bit;
}

u32 vmx_revision(void)
{
    static u32 revision;
    if (!revision)
        revision = (u32)read_msr(IA32_VMX_BASIC) & 0x7FFFFFFF;
    return revision;
}

bool vmx_on(void)
{
    if (vmx_vmxon(address_of(&vmxon_region)) != VM_SUCCEED)
        return false;
    in_operation = true;
    return true;
}

void vmx_off(void)
{
    vmx_vmxoff();
    in_operation = false;
}

void vmx_on_again(void)
{
    if (!vmx_on())
        give_up("VMXON failed");
}

bool vmx_in_operation(void)
{
    return in_operation;
}

u32 vmx_cr3_targets(void)
{
    return (u32)read_msr(IA32_VMX_MISC) >> 16 & 0x1FF;
}

u32 vmx_preemption_timer_shift(void)
{
    return (u32)read_msr(IA32_VMX_MISC) & 31;
}

static void enter_vmx_operation(void)
{
    vmxon_region.revision = vmx_revision();
    write_cr0((read_cr0() | (u32)read_msr(IA32_VMX_CR0_FIXED0)) & (u32)read_msr(IA32_VMX_CR0_FIXED1));
    write_cr4((read_cr4() | CR4_VMXE | (u32)read_msr(IA32_VMX_CR4_FIXED0)) & (u32)read_msr(IA32_VMX_CR4_FIXED1));
    vmx_on_again();
}

static const char *find_lacking(void)
{
    if (!has(FEATURE_VMX))
        return FEATURE_VMX.absent;
    u64 feature_control = read_msr(IA32_FEATURE_CONTROL);
    if (!(feature_control & FEATURE_CONTROL_LOCKED)) {
        feature_control |= FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
        write_msr(IA32_FEATURE_CONTROL, feature_control);
    }
    if (!(feature_control & FEATURE_CONTROL_VMX_OUTSIDE_SMX))
        return "VMX switched off by the firmware";
    if (!may_set(IA32_VMX_PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS))
        return "no secondary processor-based controls";
    if (!may_set(IA32_VMX_PROCBASED_CTLS2, ENABLE_EPT))
        return "no EPT";
    if (!may_set(IA32_VMX_PROCBASED_CTLS2, UNRESTRICTED_GUEST))
        return "no unrestricted guest";
    if (~ept_capabilities() & EPT_CAPABILITIES_NEEDED)
        return "no 4-level write-back EPT with 2 MiB pages and INVEPT";
    enter_vmx_operation();
    return NULL;
}

const char *vmx_lacking(void)
{
    static bool looked;
    static const char *lacking;
    if (!looked)
        lacking = find_lacking();
    looked = true;
    return lacking;
}

void vmx_clear_vmcs(void)
{
    vmcs.revision = vmx_revision();
    if (vmx_vmclear(address_of(&vmcs)) != VM_SUCCEED)
        give_up("VMCLEAR failed");
    launched = false;
}

void vmx_load_vmcs(void)
{
    if (vmx_vmptrld(address_of(&vmcs)) != VM_SUCCEED)
        give_up("VMPTRLD failed");
}

struct vmx_regions vmx_regions(void)
{
    return (struct vmx_regions){ address_of(&vmxon_region), address_of(&vmcs) };
}

void vmx_suspend(void)
{
    vmx_clear_vmcs();
    vmx_off();
    write_cr4(read_cr4() & ~CR4_VMXE);
}

void vmx_resume(void)
{
    enter_vmx_operation();
    vmx_load_vmcs();
}

u32 vmx_run(struct general_registers *registers, u32 *reason)
{
    u64 field = 0;
    u32 outcome = vmx_enter(launched ? VMRESUME : VMLAUNCH, registers);
    if (outcome != VM_SUCCEED)
        return outcome;
    vmx_vmread(EXIT_REASON, &field);
    *reason = (u32)field;
    /* A VM entry that failed while it loaded guest state leaves the launch state as it was. */
    if (!(*reason & ENTRY_FAILURE))
        launched = true;
    return VM_SUCCEED;
}
