/* VMX operation: what the CPU can do, and VMXON. One VMCS, used over and over: vmcs.h. */
#pragma once

#include "types.h"
#include "vmcs.h"
#include "vmx_instructions.h"

/* NULL when an L2 with EPT and unrestricted guest can run here (VMX operation is on then), else what is lacking. */
const char *vmx_lacking(void);

/* VMXOFF, and VMXON with CR0 and CR4 as they are: for checks of these two. `vmx_on` faults at `vmxon_instruction` where
   the CPU must not enter VMX operation, and is false on a VMfail. A check that calls `vmx_off` turns VMX operation on
   again before it ends; the next `l2_prepare` makes a VMCS current. */
bool vmx_on(void);
void vmx_off(void);
void vmx_on_again(void); /* `vmx_on`, or else give up */
bool vmx_in_operation(void);

/* VMCLEAR and VMPTRLD of the kit's VMCS, or give up; where it and the VMXON region lie; and the identifier that both
   begin with. */
void vmx_clear_vmcs(void);
void vmx_load_vmcs(void);
struct vmx_regions {
    u64 vmxon, vmcs;
};
struct vmx_regions vmx_regions(void);
u32 vmx_revision(void);

/* Leave VMX operation and clear the VMCS, which keeps its fields; and the way back, perhaps in another mode of L1. */
void vmx_suspend(void);
void vmx_resume(void);

/* VMLAUNCH of that VMCS, or VMRESUME once it is launched. With VM_SUCCEED a VM exit came back for `reason`. */
u32 vmx_run(struct general_registers *registers, u32 *reason);

/* What the CPU can do in VMX operation (SDM, appendix "VMX Capability Reporting Facility"). */
enum {
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
    IA32_VMX_VMFUNC = 0x491,
};

/* The number of CR3-target values (SDM, "Miscellaneous Data"). */
u32 vmx_cr3_targets(void);

/* The number of TSC ticks in one of the preemption timer's, as a shift (SDM, "Miscellaneous Data"). */
u32 vmx_preemption_timer_shift(void);

/* IA32_VMX_EPT_VPID_CAP (SDM, "VPID and EPT Capabilities"). */
u64 ept_capabilities(void);
#define EPT_CAPABILITY_EXECUTE_ONLY ((u64)1 << 0)
#define EPT_CAPABILITY_WALK_4 ((u64)1 << 6)
#define EPT_CAPABILITY_WALK_5 ((u64)1 << 7)
#define EPT_CAPABILITY_UNCACHEABLE ((u64)1 << 8)
#define EPT_CAPABILITY_WRITE_BACK ((u64)1 << 14)
#define EPT_CAPABILITY_2_MIB ((u64)1 << 16)
#define EPT_CAPABILITY_1_GIB ((u64)1 << 17)
#define EPT_CAPABILITY_INVEPT ((u64)1 << 20)
#define EPT_CAPABILITY_ACCESSED_DIRTY ((u64)1 << 21)
#define EPT_CAPABILITY_ADVANCED_INFORMATION ((u64)1 << 22)
#define EPT_CAPABILITY_INVEPT_SINGLE ((u64)1 << 25)
#define EPT_CAPABILITY_INVEPT_ALL ((u64)1 << 26)
#define EPT_CAPABILITY_INVVPID ((u64)1 << 32)
#define EPT_CAPABILITY_INVVPID_TYPE(type) ((u64)1 << (40 + (type)))
