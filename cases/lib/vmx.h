/* VMX operation: what the CPU can do, VMXON, and VMCS access. One VMCS, used over and over. */
#pragma once

#include "types.h"
#include "vmcs.h"

/* NULL when an L2 with EPT and unrestricted guest can run here (VMX operation is on then), else what is lacking. */
const char *vmx_lacking(void);

/* VMXOFF, and VMXON with CR0 and CR4 as they are: for checks of these two. `vmx_on` faults where the CPU must not enter
   VMX operation, and is false on a VMfail. A check that calls `vmx_off` turns VMX operation on again before it ends;
   the next `l2_prepare` makes a VMCS current. */
bool vmx_on(void);
extern const char vmxon_instruction[];
void vmx_off(void);
void vmx_on_again(void); /* `vmx_on`, or else give up */
bool vmx_in_operation(void);

/* Leave VMX operation and clear the current VMCS, which keeps its fields; and the way back. In between another mode of
   L1 may use these two regions: their addresses, as VMXON and VMPTRLD want them. */
struct vmx_regions {
    u64 vmxon, vmcs;
};
struct vmx_regions vmx_suspend(void);
void vmx_resume(void);

/* The number of CR3-target values (SDM, "Miscellaneous Data"). */
u32 vmx_cr3_targets(void);

u32 vmcs_read(enum vmcs_field field);
u64 vmcs_read64(enum vmcs_field field);
void vmcs_write(enum vmcs_field field, u32 value);
void vmcs_write64(enum vmcs_field field, u64 value);

/* Clear the VMCS and make it current, with all controls and the host state filled in. Guest state, the EPT pointer and
   where VM exits go, HOST_RIP and HOST_RSP, are the caller's. HLT exits. */
void vmcs_fresh(void);

/* Set or clear bits of one of the current VMCS's control fields; `skip(absent)` where the CPU cannot. */
void vmcs_set_controls(enum vmcs_field field, u32 bits, const char *absent);
void vmcs_clear_controls(enum vmcs_field field, u32 bits, const char *absent);
#define NMI_EXITING (1u << 3) /* of the pin-based controls */
#define PREEMPTION_TIMER (1u << 6)
#define HLT_EXITING (1u << 7) /* of the primary processor-based controls */
#define CR3_LOAD_EXITING (1u << 15)
#define CR3_STORE_EXITING (1u << 16)
#define MONITOR_TRAP_FLAG (1u << 27)
#define UNRESTRICTED_GUEST (1u << 7) /* of the secondary processor-based controls, set by `vmcs_fresh` */
#define LOAD_IA32_EFER (1u << 15)    /* of the VM-entry controls */

/* The number of TSC ticks in one of the preemption timer's, as a shift (SDM, "Miscellaneous Data"). */
u32 vmx_preemption_timer_shift(void);

/* The first field that a VMWRITE was refused for since `vmcs_fresh`, or 0. */
u32 vmcs_refused_field(void);

/* IA32_VMX_EPT_VPID_CAP (SDM, "VPID and EPT Capabilities"). */
u64 ept_capabilities(void);
#define EPT_CAPABILITY_EXECUTE_ONLY ((u64)1 << 0)
#define EPT_CAPABILITY_WALK_4 ((u64)1 << 6)
#define EPT_CAPABILITY_WRITE_BACK ((u64)1 << 14)
#define EPT_CAPABILITY_2_MIB ((u64)1 << 16)
#define EPT_CAPABILITY_INVEPT ((u64)1 << 20)
#define EPT_CAPABILITY_ACCESSED_DIRTY ((u64)1 << 21)
#define EPT_CAPABILITY_INVEPT_SINGLE ((u64)1 << 25)
