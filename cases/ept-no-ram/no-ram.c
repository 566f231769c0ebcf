/* F-08: EPT structures at an address without RAM. */
#include "check.h"
#include "ept.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define TIMER "VMX-Preemption Timer (Vol. 3, 26.5.1)"
#define TRANSLATION "EPT Translation Mechanism (Vol. 3, 29.3.2)"

enum { NO_RAM = 0xFED40000 };
L2_CODE(nop, "nop");

static void about_to_expire(void)
{
    l2_prepare(nop.start);
    vmcs_set_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "no preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, 0);
}

static void must_expire(void)
{
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_PREEMPTION_TIMER);
    must_stop_at(&exit, nop.start);
    saw_exit(&exit, nop.start);
}

CHECK(timer, "F-08/timer", NEEDS_L2, TIMER, "Control: a preemption timer of 0 exits before L2's first instruction")
{
    about_to_expire();
    must_expire();
}

CHECK(timer_entry, "F-08/timer-pml4e", NEEDS_L2, TIMER,
      "A preemption timer of 0 exits before EPT is walked: an EPT PML4E that points at no RAM is not read")
{
    about_to_expire();
    *ept_entry(0, EPT_PML4E) = NO_RAM | EPT_ALL;
    ept_flush();
    must_expire();
}

/* The SDM does not say what a read gives where there is no RAM, but that an EPT walk ends in one of its two exits. */
static void must_end_in_ept_exit(void)
{
    struct vm_exit exit = l2_run();
    must("ept_exit", exit.reason == EXIT_EPT_VIOLATION || exit.reason == EXIT_EPT_MISCONFIGURATION, true);
    must_stop_at(&exit, nop.start);
    noted("exit_reason", exit.reason);
    noted("exit_qualification", exit.qualification);
    noted("guest_physical_address", exit.guest_physical_address);
}

CHECK(absent, "F-08/fetch-absent", NEEDS_L2, "EPT Violations (Vol. 3, 29.3.3.2)",
      "Control: a fetch of L2 through an EPT PML4E that is not present causes an EPT violation")
{
    l2_prepare(nop.start);
    *ept_entry(0, EPT_PML4E) = 0;
    ept_flush();
    must_end_in_ept_exit();
}

CHECK(fetch_entry, "F-08/fetch-pml4e", NEEDS_L2, TRANSLATION,
      "A fetch of L2 through an EPT PML4E that points at no RAM causes an EPT violation or misconfiguration")
{
    l2_prepare(nop.start);
    *ept_entry(0, EPT_PML4E) = NO_RAM | EPT_ALL;
    ept_flush();
    must_end_in_ept_exit();
}

CHECK(timer_pointer, "F-08/timer-eptp", NEEDS_L2, TIMER,
      "A preemption timer of 0 exits before EPT is walked: an EPT pointer at no RAM is not followed")
{
    about_to_expire();
    vmcs_write64(EPT_POINTER, NO_RAM | (ept_pointer() & 0xFFF));
    must_expire();
}

CHECK(fetch_pointer, "F-08/fetch-eptp", NEEDS_L2, TRANSLATION,
      "A fetch of L2 with an EPT pointer at no RAM causes an EPT violation or misconfiguration")
{
    l2_prepare(nop.start);
    vmcs_write64(EPT_POINTER, NO_RAM | (ept_pointer() & 0xFFF));
    must_end_in_ept_exit();
}
