/* VMX operation: what the CPU can do, VMXON, and VMCS access. One VMCS, used over and over. */
#pragma once

#include "types.h"
#include "vmcs.h"

/* NULL when an L2 with EPT and unrestricted guest can run here (VMX operation is on then), else what is lacking. */
const char *vmx_lacking(void);

u32 vmcs_read(enum vmcs_field field);
u64 vmcs_read64(enum vmcs_field field);
void vmcs_write(enum vmcs_field field, u32 value);
void vmcs_write64(enum vmcs_field field, u64 value);

/* A cleared VMCS made current, with all controls and the whole host state filled in; guest state is the caller's. */
void vmcs_fresh(void);

/* IA32_VMX_EPT_VPID_CAP (SDM, "VPID and EPT Capabilities"). */
u64 ept_capabilities(void);
