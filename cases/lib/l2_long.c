#include "l2_long.h"

#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "vmx.h"

enum { HOST_ADDRESS_SPACE_SIZE = 1 << 9 }; /* of the VM-exit controls */

extern const char l2_long_body[], l2_long_exit[];

struct vmx_regions l2_long_regions; /* for l2_long_entry.S */

bool l2_long_host(void)
{
    if (lacks(FEATURE_LONG_MODE))
        return false;
    if (!vmcs_add_controls(VM_EXIT_CONTROLS, HOST_ADDRESS_SPACE_SIZE)) {
        skip("no 64-bit host address space");
        return false;
    }
    vmcs_write(HOST_CR3, address_of(long_pml4));
    vmcs_write(HOST_CR4, CR4_PAE | CR4_VMXE);
    vmcs_write(HOST_CS_SELECTOR, SELECTOR_CODE_64);
    vmcs_write(HOST_RIP, address_of(l2_long_exit));
    return true;
}

u32 l2_long_enter(void)
{
    l2_long_regions = vmx_suspend();
    long_enter();
    struct trap trap = trap_in_64(l2_long_body, 0);
    long_leave();
    vmx_resume();
    if (trap.taken)
        give_up_on_trap(&trap);
    return (u32)long_result();
}
