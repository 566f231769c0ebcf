/* L1 as a 64-bit hypervisor, for as long as L2 runs. A guest in IA-32e mode needs one: a VM exit from it to a 32-bit
   hypervisor is a VMX abort, and VM entry to it from there fails (SDM, "VMX Aborts", "Checks Related to Address-Space
   Size"). */
#pragma once

#include "l2_registers.h"
#include "types.h"

/* Make the host state of the current VMCS that of 64-bit mode; `skip` where the CPU has none. */
void l2_long_host(void);

/* VMLAUNCH from 64-bit mode with these registers, and back; returns what `vm_enter` does. VMX operation ends and begins
   again on the way, since CR0.PG is fixed in it, and the VMCS is cleared: there is no VMRESUME. */
u32 l2_long_enter(struct general_registers *registers);
