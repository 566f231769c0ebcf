/* The CPU's identification, one line for the tester's table of environments; no check depends on it. */
#include "capabilities.h"

#include "console.h"
#include "cpu.h"
#include "feature.h"

enum { IA32_VMX_BASIC = 0x480, PROCBASED = 2, PROCBASED2 = 11, TRUE_FIRST = 13, TRUE_LAST = 16, VMFUNC = 17 };
enum { ENABLE_EPT = 1 << 1, ENABLE_VPID = 1 << 5, ENABLE_VM_FUNCTIONS = 1 << 13 }; /* secondary controls */
enum { CPUID_FEATURES = 1 };
#define CPUID_HIGHEST_EXTENDED 0x80000000
#define CPUID_ADDRESS_SIZES 0x80000008

/* From IA32_VMX_BASIC on, one MSR after the other (SDM, appendix "VMX Capability Reporting Facility"). */
static const char *const names[] = {
    "basic",           "pinbased_ctls",      "procbased_ctls",      "exit_ctls",      "entry_ctls",
    "misc",            "cr0_fixed0",         "cr0_fixed1",          "cr4_fixed0",     "cr4_fixed1",
    "vmcs_enum",       "procbased_ctls2",    "ept_vpid_cap",        "true_pinbased_ctls",
    "true_procbased_ctls", "true_exit_ctls", "true_entry_ctls",     "vmfunc",
};

static u32 may_be_1(u32 number)
{
    return (u32)(read_msr(IA32_VMX_BASIC + number) >> 32);
}

/* The same appendix says which of them exist: reading another one causes #GP. */
static bool exists(u32 number)
{
    if (number >= TRUE_FIRST && number <= TRUE_LAST)
        return read_msr(IA32_VMX_BASIC) >> 55 & 1;
    if (number < PROCBASED2)
        return true;
    if (!(may_be_1(PROCBASED) >> 31))
        return false;
    u32 enables = number == VMFUNC ? ENABLE_VM_FUNCTIONS : ENABLE_EPT | ENABLE_VPID;
    return number == PROCBASED2 || may_be_1(PROCBASED2) & enables;
}

void say_capabilities(void)
{
    say("difftest 1 cpu signature=%#x", cpuid(CPUID_FEATURES).eax);
    if (cpuid(CPUID_HIGHEST_EXTENDED).eax >= CPUID_ADDRESS_SIZES)
        say(" maxphyaddr=%#x", cpuid(CPUID_ADDRESS_SIZES).eax & 0xFF);
    for (u32 number = 0; has(FEATURE_VMX) && number < ARRAY_SIZE(names); number++)
        if (exists(number))
            say(" ia32_vmx_%s=%#llx", names[number], read_msr(IA32_VMX_BASIC + number));
    say("\n");
}
