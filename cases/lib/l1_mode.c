#include "l1_mode.h"

#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "mode.h"
#include "vmx.h"

static enum { HOME, PAE_PAGING, LONG } where;

void l1_in_pae_paging(u32 cr3)
{
    l1_home();
    vmx_suspend();
    mode_enter((struct mode){ read_cr0(), cr3, CR4_PAE });
    where = PAE_PAGING;
    vmx_resume();
    vmcs_write_host_state();
}

void l1_in_64_bit_mode(void)
{
    l1_home();
    need(FEATURE_LONG_MODE);
    vmcs_set_controls(VM_EXIT_CONTROLS, HOST_ADDRESS_SPACE_SIZE, "no 64-bit host address space");
    vmx_suspend();
    long_enter();
    vmx_use_64_bit_code(true);
    where = LONG;
    vmx_resume();
    vmcs_write_host_state();
}

void l1_home(void)
{
    if (where == HOME)
        return;
    vmx_suspend();
    vmx_use_64_bit_code(false);
    if (where == LONG)
        long_leave();
    else
        mode_leave();
    where = HOME;
    vmx_resume();
}
