/* L1 as a hypervisor in another mode, while L2 runs: from the call, made after `l2_prepare`, to the end of the check or
   the next `l2_prepare`. The host state of the VMCS goes along, so that VM exits come back to L1 in that mode; VMLAUNCH
   must come first, since the VMCS is cleared on the way. */
#pragma once

#include "types.h"

/* PAE paging with the PDPTEs at `cr3`, which must map the image one to one. */
void l1_in_pae_paging(u32 cr3);

/* 64-bit mode, for guests in IA-32e mode: a VM exit from one to a 32-bit hypervisor is a VMX abort, and VM entry to it
   from there fails (SDM, "VMX Aborts", "Checks Related to Address-Space Size"). C code goes on in compatibility mode,
   with VMX instructions in 64-bit code: long.h. `skip` where the CPU cannot. */
void l1_in_64_bit_mode(void);

/* Back to the kit's own mode. The main loop does it after every check. */
void l1_home(void);
