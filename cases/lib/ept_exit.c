#include "ept_exit.h"

#include "record.h"

/* Bit 6 needs mode-based execute control and bits 11:9 advanced information: ept-walk/ has checks of these. Bit 12 and
   above are about other features. */
enum { LINEAR_VALID = 1 << 7, TRANSLATED = 1 << 8, DEFINED = 0x1BF, OF_AN_EXCEPTION = 1 << 16 };

static u64 exit_for(u32 reason, u32 qualification)
{
    return (u64)reason << 32 | qualification;
}

static struct ept_exit violation(u32 access, u32 allowed, u32 kind, u64 guest_physical, u64 linear)
{
    return (struct ept_exit){ exit_for(EXIT_EPT_VIOLATION, access | allowed << 3 | kind), guest_physical, linear, 0 };
}

struct ept_exit violation_of_page(u32 access, u32 allowed, u64 guest_physical, u64 linear)
{
    return violation(access, allowed, LINEAR_VALID | TRANSLATED, guest_physical, linear);
}

struct ept_exit violation_of_entry(u32 access, u32 allowed, u64 entry, u64 linear)
{
    return violation(access, allowed, LINEAR_VALID, entry, linear);
}

struct ept_exit ept_misconfiguration(u64 guest_physical)
{
    return (struct ept_exit){ exit_for(EXIT_EPT_MISCONFIGURATION, 0), guest_physical, 0, 0 };
}

struct ept_exit ept_passes(void)
{
    return (struct ept_exit){ exit_for(EXIT_VMCALL, 0), 0, 0, 0 };
}

/* What came, in the same form; other exits with their reason alone, and an exception of L2 with its vector. */
static struct ept_exit seen_in(const struct vm_exit *exit, u32 undefined)
{
    u32 qualification = (u32)exit->qualification;
    if (exit->failed_entry)
        return (struct ept_exit){ ~(u64)0, 0, 0, undefined };
    switch (exit->reason) {
    case EXIT_EPT_VIOLATION:
        return (struct ept_exit){ exit_for(exit->reason, qualification & DEFINED & ~undefined),
                                  exit->guest_physical_address,
                                  qualification & LINEAR_VALID ? exit->guest_linear_address : 0, undefined };
    case EXIT_EPT_MISCONFIGURATION: /* its guest-linear address is undefined, the exit qualification for others */
        return (struct ept_exit){ exit_for(exit->reason, 0), exit->guest_physical_address, 0, undefined };
    default:
        return (struct ept_exit){ exit_for(exit->reason, exit->exception ? OF_AN_EXCEPTION | exit->vector : 0), 0, 0,
                                  undefined };
    }
}

void must_violate(const struct vm_exit *exit, struct ept_exit required)
{
    u32 qualification = (u32)exit->qualification, expected = (u32)required.exit, access = 7 & ~required.undefined;
    if (exit->failed_entry)
        return;
    must("exit_reason", exit->reason, EXIT_EPT_VIOLATION);
    if (exit->reason != EXIT_EPT_VIOLATION)
        return;
    must(access == 7 ? "exit_qualification_access" : "exit_qualification_access_defined", qualification & access,
         expected & access);
    must("exit_qualification_allowed", qualification >> 3 & 7, expected >> 3 & 7);
    must("exit_qualification_linear_valid", !!(qualification & LINEAR_VALID), !!(expected & LINEAR_VALID));
    must("exit_qualification_translated", !!(qualification & TRANSLATED), !!(expected & TRANSLATED));
    must("guest_physical_address", exit->guest_physical_address, required.guest_physical);
    if (expected & LINEAR_VALID)
        must("guest_linear_address", exit->guest_linear_address, required.linear);
}

void must_misconfigure(const struct vm_exit *exit, u64 guest_physical)
{
    if (exit->failed_entry)
        return;
    must("exit_reason", exit->reason, EXIT_EPT_MISCONFIGURATION);
    if (exit->reason != EXIT_EPT_MISCONFIGURATION)
        return;
    must("guest_physical_address", exit->guest_physical_address, guest_physical);
    /* Cleared, as in every exit for which the SDM lists nothing ("Basic VM-Exit Information"). */
    must("exit_qualification", exit->qualification, 0);
}

void tally_ept(struct tally *tally, u64 turn, const struct vm_exit *exit, struct ept_exit required)
{
    struct ept_exit seen = seen_in(exit, required.undefined);
    required.exit &= ~(u64)required.undefined;
    if (seen.exit != required.exit)
        tally_turn(tally, turn, seen.exit, required.exit);
    else if (seen.guest_physical != required.guest_physical)
        tally_turn(tally, turn, seen.guest_physical, required.guest_physical);
    else
        tally_turn(tally, turn, seen.linear, required.linear);
}
