/* F-09: IA32_DEBUGCTL of the guest at VM entry. */
#include "check.h"
#include "entry.h"
#include "tally.h"
#include "vmx.h"

#define CHECKS "Checks on Guest Control Registers, Debug Registers, and MSRs (Vol. 3, 27.3.1.1)"

enum { DEFINED_SOMEWHERE = 0xFFC7 }; /* bits 2:0 and 15:6, each on some CPU */

static void about_to_load(void)
{
    entry_prepare();
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "no load of debug controls");
}

CHECK(zero, "F-09/zero", NEEDS_L2, CHECKS, "Control: VM entry that loads IA32_DEBUGCTL with 0 succeeds")
{
    about_to_load();
    must_enter();
}

CHECK(reserved, "F-09/reserved", NEEDS_L2, CHECKS,
      "VM entry that loads IA32_DEBUGCTL fails for each bit that is reserved on all CPUs, 5:3 and 63:16")
{
    struct tally tally = { 0 };
    about_to_load();
    for (u32 bit = 3; bit < 64; bit++) {
        u64 value = (u64)1 << bit;
        if (value & DEFINED_SOMEWHERE)
            continue;
        vmcs_write64(GUEST_IA32_DEBUGCTL, value);
        tally_turn(&tally, bit, entry_try(), ENTRY_FAILED(GUEST_STATE_INVALID, 0));
    }
    must_tally(&tally);
}

CHECK(not_loaded, "F-09/not-loaded", NEEDS_L2, CHECKS,
      "VM entry without the control that loads it ignores a reserved bit of the guest IA32_DEBUGCTL field")
{
    entry_prepare();
    vmcs_clear_controls(VM_ENTRY_CONTROLS, LOAD_DEBUG_CONTROLS, "the load of debug controls is fixed to 1");
    vmcs_write64(GUEST_IA32_DEBUGCTL, (u64)1 << 63);
    must_enter();
}
