/* VM exits that EPT causes, judged by what the SDM defines of them: exit reason, exit qualification, guest-physical and
   guest-linear address ("Exit Qualification for EPT Violations", "EPT Misconfigurations").

       must_violate(&exit, violation_of_page(VIOLATION_WRITE, EPT_READ, guest_physical, linear));
       must_misconfigure(&exit, guest_physical);

   For sweeps: `tally_ept(&tally, turn, &exit, ept_misconfiguration(guest_physical));` */
#pragma once

#include "l2.h"
#include "tally.h"

/* What an access through EPT comes to. `exit` has the exit reason in bits 63:32 and below the bits of the exit
   qualification that the SDM defines. */
struct ept_exit {
    u64 exit, guest_physical, linear;
    u32 undefined; /* bits of the qualification that are not compared besides */
};

/* An EPT violation of the page that a linear address translates to, or of the entry of a guest paging structure on the
   way: `access` has bits of `violation_access`, `allowed` the bits of EPT_ALL that the entries of all levels allow. */
struct ept_exit violation_of_page(u32 access, u32 allowed, u64 guest_physical, u64 linear);
struct ept_exit violation_of_entry(u32 access, u32 allowed, u64 entry, u64 linear);
struct ept_exit ept_misconfiguration(u64 guest_physical);

/* No exit of EPT: L2 came to its VMCALL. */
struct ept_exit ept_passes(void);

void must_violate(const struct vm_exit *exit, struct ept_exit violation);
void must_misconfigure(const struct vm_exit *exit, u64 guest_physical);

/* One turn of a sweep: the first of the three numbers that is not as required, if any. The exit qualification of a
   misconfiguration is left to `must_misconfigure`: where a hypervisor leaves it stale, sweeps would see nothing
   else. */
void tally_ept(struct tally *tally, u64 turn, const struct vm_exit *exit, struct ept_exit required);
