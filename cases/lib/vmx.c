#include "vmx.h"

#include "cpu.h"
#include "feature.h"
#include "outcome.h"
#include "trap.h"

enum {
    IA32_FEATURE_CONTROL = 0x3A,
    IA32_SYSENTER_CS = 0x174,
    IA32_SYSENTER_ESP = 0x175,
    IA32_SYSENTER_EIP = 0x176,
    IA32_VMX_BASIC = 0x480,
    IA32_VMX_PINBASED_CTLS = 0x481,
    IA32_VMX_PROCBASED_CTLS = 0x482,
    IA32_VMX_EXIT_CTLS = 0x483,
    IA32_VMX_ENTRY_CTLS = 0x484,
    IA32_VMX_MISC = 0x485,
    IA32_VMX_CR0_FIXED0 = 0x486,
    IA32_VMX_CR0_FIXED1 = 0x487,
    IA32_VMX_CR4_FIXED0 = 0x488,
    IA32_VMX_CR4_FIXED1 = 0x489,
    IA32_VMX_PROCBASED_CTLS2 = 0x48B,
    IA32_VMX_EPT_VPID_CAP = 0x48C,
    TRUE_CONTROLS = 0x48D - 0x481, /* from a control's MSR to its TRUE one, which IA32_VMX_BASIC[55] reports */
};

enum {
    FEATURE_CONTROL_LOCKED = 1 << 0,
    FEATURE_CONTROL_VMX_OUTSIDE_SMX = 1 << 2,
    SECONDARY_ENABLE_EPT = 1 << 1,
};
#define ACTIVATE_SECONDARY_CONTROLS (1u << 31)

#define EPT_CAPABILITIES_NEEDED \
    (EPT_CAPABILITY_WALK_4 | EPT_CAPABILITY_WRITE_BACK | EPT_CAPABILITY_2_MIB | EPT_CAPABILITY_INVEPT)

struct vmx_region {
    u32 revision;
    u8 data[PAGE_SIZE - 4];
} PAGE_ALIGNED;

static struct vmx_region vmxon_region, vmcs;
static bool in_operation;
static u32 refused_field;

u64 ept_capabilities(void)
{
    return read_msr(IA32_VMX_EPT_VPID_CAP);
}

/* What a control field may hold: the bits that must be 1 in the low half, those that may be in the high half (SDM,
   "Algorithms for Determining VMX Capabilities"). Each is read once, for under a hypervisor that is a VM exit. */
static u64 allowed_controls(u32 msr)
{
    static u64 allowed[IA32_VMX_PROCBASED_CTLS2 - IA32_VMX_PINBASED_CTLS + 1];
    u64 *known = &allowed[msr - IA32_VMX_PINBASED_CTLS];
    if (!*known) {
        bool exact = msr <= IA32_VMX_ENTRY_CTLS && read_msr(IA32_VMX_BASIC) >> 55 & 1;
        *known = read_msr(exact ? msr + TRUE_CONTROLS : msr);
    }
    return *known;
}

static u32 controls(u32 msr, u32 wanted)
{
    u64 allowed = allowed_controls(msr);
    return (wanted | (u32)allowed) & (u32)(allowed >> 32);
}

static bool may_set(u32 msr, u32 bit)
{
    return (u32)(read_msr(msr) >> 32) & bit;
}

/* Not inlined: the label must be one. */
__attribute__((noinline, noclone)) bool vmx_on(void)
{
    u64 address = address_of(&vmxon_region);
    bool failed;
    asm volatile(".globl vmxon_instruction; vmxon_instruction: vmxon %1" : "=@ccna"(failed) : "m"(address) : "memory");
    if (!failed)
        in_operation = true;
    return !failed;
}

void vmx_off(void)
{
    asm volatile("vmxoff" : : : "cc");
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
    vmxon_region.revision = (u32)read_msr(IA32_VMX_BASIC) & 0x7FFFFFFF;
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
    if (!may_set(IA32_VMX_PROCBASED_CTLS2, SECONDARY_ENABLE_EPT))
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

u32 vmcs_read(enum vmcs_field field)
{
    u32 value = 0;
    asm volatile("vmread %1, %0" : "=rm"(value) : "r"((u32)field) : "cc");
    return value;
}

u64 vmcs_read64(enum vmcs_field field)
{
    return (u64)vmcs_read(field + 1) << 32 | vmcs_read(field);
}

void vmcs_write(enum vmcs_field field, u32 value)
{
    bool failed;
    asm volatile("vmwrite %2, %1" : "=@ccna"(failed) : "r"((u32)field), "rm"(value));
    if (failed && !refused_field)
        refused_field = field;
}

u32 vmcs_refused_field(void)
{
    return refused_field;
}

void vmcs_write64(enum vmcs_field field, u64 value)
{
    vmcs_write(field, (u32)value);
    vmcs_write(field + 1, (u32)(value >> 32));
}

/* What a control field may hold, by its MSR. */
static u64 allowed_in(enum vmcs_field field)
{
    static const struct {
        enum vmcs_field field;
        u32 msr;
    } fields[] = {
        { PIN_BASED_CONTROLS, IA32_VMX_PINBASED_CTLS },
        { PRIMARY_PROCESSOR_BASED_CONTROLS, IA32_VMX_PROCBASED_CTLS },
        { SECONDARY_PROCESSOR_BASED_CONTROLS, IA32_VMX_PROCBASED_CTLS2 },
        { VM_EXIT_CONTROLS, IA32_VMX_EXIT_CTLS },
        { VM_ENTRY_CONTROLS, IA32_VMX_ENTRY_CTLS },
    };
    for (unsigned index = 0; index < ARRAY_SIZE(fields); index++)
        if (fields[index].field == field)
            return allowed_controls(fields[index].msr);
    misused("vmcs_set_controls or vmcs_clear_controls of a field that holds no controls");
}

void vmcs_set_controls(enum vmcs_field field, u32 bits, const char *absent)
{
    if (bits & ~(u32)(allowed_in(field) >> 32))
        skip(absent);
    vmcs_write(field, vmcs_read(field) | bits);
}

void vmcs_clear_controls(enum vmcs_field field, u32 bits, const char *absent)
{
    if (bits & (u32)allowed_in(field))
        skip(absent);
    vmcs_write(field, vmcs_read(field) & ~bits);
}

static void write_controls(void)
{
    vmcs_write(PIN_BASED_CONTROLS, controls(IA32_VMX_PINBASED_CTLS, 0));
    vmcs_write(PRIMARY_PROCESSOR_BASED_CONTROLS,
               controls(IA32_VMX_PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS | HLT_EXITING));
    vmcs_write(SECONDARY_PROCESSOR_BASED_CONTROLS,
               controls(IA32_VMX_PROCBASED_CTLS2, SECONDARY_ENABLE_EPT | UNRESTRICTED_GUEST));
    vmcs_write(VM_EXIT_CONTROLS, controls(IA32_VMX_EXIT_CTLS, 0));
    vmcs_write(VM_ENTRY_CONTROLS, controls(IA32_VMX_ENTRY_CTLS, 0));
    vmcs_write(EXCEPTION_BITMAP, 0);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, 0);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, 0);
    vmcs_write(CR3_TARGET_COUNT, 0);
    vmcs_write(VM_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VM_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, 0);
}

static void write_host_state(void)
{
    struct descriptor_pointer idtr;
    asm volatile("sidt %0" : "=m"(idtr));
    for (u32 segment = 0; segment < SEGMENTS; segment++)
        vmcs_write(HOST_ES_SELECTOR + segment * FIELD_STEP, segment == SEGMENT_CS ? SELECTOR_CODE : SELECTOR_DATA);
    vmcs_write(HOST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(HOST_CR0, read_cr0());
    vmcs_write(HOST_CR3, read_cr3());
    vmcs_write(HOST_CR4, read_cr4());
    vmcs_write(HOST_FS_BASE, 0);
    vmcs_write(HOST_GS_BASE, 0);
    vmcs_write(HOST_TR_BASE, tss_address());
    vmcs_write(HOST_GDTR_BASE, read_gdtr().base);
    vmcs_write(HOST_IDTR_BASE, idtr.base);
    vmcs_write(HOST_IA32_SYSENTER_CS, (u32)read_msr(IA32_SYSENTER_CS));
    vmcs_write(HOST_IA32_SYSENTER_ESP, (u32)read_msr(IA32_SYSENTER_ESP));
    vmcs_write(HOST_IA32_SYSENTER_EIP, (u32)read_msr(IA32_SYSENTER_EIP));
}

static void clear_vmcs(void)
{
    u64 address = address_of(&vmcs);
    bool failed;
    asm volatile("vmclear %1" : "=@ccna"(failed) : "m"(address) : "memory");
    if (failed)
        give_up("VMCLEAR failed");
}

static void load_vmcs(void)
{
    u64 address = address_of(&vmcs);
    bool failed;
    asm volatile("vmptrld %1" : "=@ccna"(failed) : "m"(address) : "memory");
    if (failed)
        give_up("VMPTRLD failed");
}

struct vmx_regions vmx_suspend(void)
{
    clear_vmcs();
    vmx_off();
    write_cr4(read_cr4() & ~CR4_VMXE);
    return (struct vmx_regions){ address_of(&vmxon_region), address_of(&vmcs) };
}

void vmx_resume(void)
{
    enter_vmx_operation();
    load_vmcs();
}

void vmcs_fresh(void)
{
    vmcs.revision = (u32)read_msr(IA32_VMX_BASIC) & 0x7FFFFFFF;
    clear_vmcs();
    load_vmcs();
    refused_field = 0;
    write_controls();
    write_host_state();
}
