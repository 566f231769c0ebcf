/* The VMX instructions by their outcome, as 32-bit code or, while L1 is in IA-32e mode, as 64-bit code. */
#pragma once

#include "l2_registers.h"
#include "types.h"

/* The outcome of a VMX instruction: VM_SUCCEED, VM_FAIL_INVALID, or the number that VMfailValid leaves in the
   VM-instruction error field (SDM, "Conventions" and "VM Instruction Error Numbers"). Flags that are none of the three
   give VM_ODD_FLAGS with the flags in it. */
enum vm_outcome { VM_SUCCEED = 0, VM_FAIL_INVALID = 0x100, VM_ODD_FLAGS = 0x10000 };

u32 vmx_vmxon(u64 region);
extern const char vmxon_instruction[]; /* in 32-bit code */
void vmx_vmxoff(void);
u32 vmx_vmclear(u64 region);
u32 vmx_vmptrld(u64 region);
u32 vmx_vmptrst(u64 *region);

/* 32 bits of the field from 32-bit code, all that it has from 64-bit code. */
u32 vmx_vmread(u32 field, u64 *value);
u32 vmx_vmwrite(u32 field, u64 value);

struct invept_descriptor {
    u64 eptp, reserved;
};
u32 vmx_invept(u32 type, const struct invept_descriptor *descriptor);
struct invvpid_descriptor {
    u64 vpid, linear_address; /* bits 15:0 are the VPID, the others reserved */
};
u32 vmx_invvpid(u32 type, const struct invvpid_descriptor *descriptor);

/* VMLAUNCH or VMRESUME with these general registers, which are stored back at the VM exit: VM_SUCCEED then. The
   addresses are where VM exits must go, by HOST_RIP. */
enum vm_entry_instruction { VMLAUNCH, VMRESUME };
u32 vmx_enter(enum vm_entry_instruction instruction, struct general_registers *registers);
u32 vmx_exit_entry(void);

/* Whether these are 64-bit code from now on: L1 is in IA-32e mode, where 32-bit code has no VMX instructions. */
void vmx_use_64_bit_code(bool use);
bool vmx_uses_64_bit_code(void);

/* The outcome must be this VM-instruction error, or VM_FAIL_INVALID. */
void must_vmfail(u32 outcome, u32 error);
