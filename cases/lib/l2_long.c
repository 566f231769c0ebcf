#include "l2_long.h"

#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "vmx.h"

enum { HOST_ADDRESS_SPACE_SIZE = 1 << 9 }; /* of the VM-exit controls */

extern const char l2_long_body[], l2_long_exit[];

struct {
    struct vmx_regions regions;
    struct general_registers *registers;
} l2_long_stage; /* for l2_long_entry.S, which knows its layout */

void l2_long_host(void)
{
    need(FEATURE_LONG_MODE);
    vmcs_set_controls(VM_EXIT_CONTROLS, HOST_ADDRESS_SPACE_SIZE, "no 64-bit host address space");
    vmcs_write(HOST_CR3, address_of(long_pml4));
    vmcs_write(HOST_CR4, CR4_PAE | CR4_VMXE);
    vmcs_write(HOST_CS_SELECTOR, SELECTOR_CODE_64);
    vmcs_write(HOST_RIP, address_of(l2_long_exit));
}

u32 l2_long_enter(struct general_registers *registers)
{
    l2_long_stage.registers = registers;
    l2_long_stage.regions = vmx_suspend();
    long_enter();
    struct trap trap = trap_in_64(l2_long_body, 0);
    long_leave();
    vmx_resume();
    if (trap.taken)
        trap_give_up(&trap);
    return (u32)long_result();
}
