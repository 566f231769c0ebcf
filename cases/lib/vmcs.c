#include "vmcs.h"

#include "cpu.h"
#include "outcome.h"
#include "trap.h"
#include "vmx.h"

enum { IA32_SYSENTER_CS = 0x174, IA32_SYSENTER_ESP = 0x175, IA32_SYSENTER_EIP = 0x176 };
enum { TRUE_CONTROLS = 0x48D - 0x481 }; /* from a control's MSR to its TRUE one, which IA32_VMX_BASIC[55] reports */

static u32 refused_field;

u32 vmcs_read(u32 field)
{
    u64 value = 0;
    vmx_vmread(field, &value);
    return (u32)value;
}

u64 vmcs_read64(u32 field)
{
    u64 value = 0;
    if (!vmx_uses_64_bit_code() && FIELD_WIDTH(field) == FIELD_64)
        return (u64)vmcs_read(field + 1) << 32 | vmcs_read(field);
    vmx_vmread(field, &value);
    return value;
}

static void write(u32 field, u64 value)
{
    if (vmx_vmwrite(field, value) != VM_SUCCEED && !refused_field)
        refused_field = field;
}

void vmcs_write(u32 field, u32 value)
{
    write(field, value);
}

void vmcs_write64(u32 field, u64 value)
{
    write(field, value);
    if (!vmx_uses_64_bit_code() && FIELD_WIDTH(field) == FIELD_64)
        write(field + 1, value >> 32);
}

u32 vmcs_refused_field(void)
{
    return refused_field;
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

/* What a control field may hold, by its MSR. */
u64 vmcs_allowed_controls(u32 field)
{
    static const struct {
        u32 field, msr;
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

void vmcs_set_controls(u32 field, u32 bits, const char *absent)
{
    if (bits & ~(u32)(vmcs_allowed_controls(field) >> 32))
        skip(absent);
    vmcs_write(field, vmcs_read(field) | bits);
}

void vmcs_clear_controls(u32 field, u32 bits, const char *absent)
{
    if (bits & (u32)vmcs_allowed_controls(field))
        skip(absent);
    vmcs_write(field, vmcs_read(field) & ~bits);
}

static void write_controls(void)
{
    vmcs_write(PIN_BASED_CONTROLS, controls(IA32_VMX_PINBASED_CTLS, 0));
    vmcs_write(PRIMARY_PROCESSOR_BASED_CONTROLS,
               controls(IA32_VMX_PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS | HLT_EXITING));
    vmcs_write(SECONDARY_PROCESSOR_BASED_CONTROLS,
               controls(IA32_VMX_PROCBASED_CTLS2, ENABLE_EPT | UNRESTRICTED_GUEST));
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

void vmcs_write_host_state(void)
{
    struct descriptor_pointer idtr;
    asm volatile("sidt %0" : "=m"(idtr));
    u16 code = vmx_uses_64_bit_code() ? SELECTOR_CODE_64 : SELECTOR_CODE;
    for (u32 segment = 0; segment < SEGMENTS; segment++)
        vmcs_write(HOST_ES_SELECTOR + segment * FIELD_STEP, segment == SEGMENT_CS ? code : SELECTOR_DATA);
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
    vmcs_write(HOST_RIP, vmx_exit_entry());
}

void vmcs_fresh(void)
{
    vmx_clear_vmcs();
    vmx_load_vmcs();
    refused_field = 0;
    write_controls();
    vmcs_write_host_state();
}
