/* F-15: the checks of VM entry on CS and DS, over all combinations of type, privilege levels and RPL. */
#include "check.h"
#include "entry.h"
#include "l2_modes.h"
#include "selectors.h"
#include "tally.h"
#include "vmx.h"

#define CHECKS "Checks on Guest Segment Registers (Vol. 3, 27.3.1.2)"

enum { FLAT = 0xC090, LEVELS = 4, TYPES = 16 };
enum { ACCESSED = 1, WRITABLE_OR_READABLE = 2, CODE = 8, CONFORMING = 4 };

static u64 outcome(bool allowed)
{
    return allowed ? ENTRY_RAN : ENTRY_FAILED(GUEST_STATE_INVALID, 0);
}

static u32 rights(u32 type, u32 dpl)
{
    return FLAT | type | dpl << 5;
}

static void set_ss(u32 dpl)
{
    vmcs_write(GUEST_SS_SELECTOR, SELECTOR_DATA | dpl);
    vmcs_write(GUEST_SS_ACCESS_RIGHTS, rights(3, dpl));
}

/* VMCALL exits at each CPL. */
static void set_cs(u32 type, u32 dpl, u32 rpl)
{
    vmcs_write(GUEST_CS_SELECTOR, SELECTOR_CODE | rpl);
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, rights(type, dpl));
}

static bool cs_allowed(u32 type, u32 dpl, u32 ss_dpl)
{
    switch (type) {
    case 3: /* with unrestricted guest; SS.DPL must be 0, too */
        return dpl == 0 && ss_dpl == 0;
    case 9:
    case 11:
        return dpl == ss_dpl;
    case 13:
    case 15:
        return dpl <= ss_dpl;
    default:
        return false;
    }
}

static void try_cs(struct tally *tally, u32 type, u32 dpl, u32 rpl, u32 ss_dpl)
{
    set_ss(ss_dpl);
    set_cs(type, dpl, rpl);
    tally_turn(tally, type << 12 | dpl << 8 | rpl << 4 | ss_dpl, entry_try(), outcome(cs_allowed(type, dpl, ss_dpl)));
}

CHECK(cs, "F-15/cs", NEEDS_L2, CHECKS,
      "VM entry accepts CS by its type, its DPL and SS.DPL, whatever RPL is, in each combination of them")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 type = 0; type < TYPES; type++)
        for (u32 dpl = 0; dpl < LEVELS; dpl++)
            for (u32 ss_dpl = 0; ss_dpl < LEVELS; ss_dpl++)
                if (cs_allowed(type, dpl, ss_dpl))
                    for (u32 rpl = 0; rpl < LEVELS; rpl++)
                        try_cs(&tally, type, dpl, rpl, ss_dpl);
                else
                    try_cs(&tally, type, dpl, ss_dpl, ss_dpl);
    must_tally(&tally);
}

/* Of a data segment only its type is checked with unrestricted guest. */
static bool data_allowed(u32 type)
{
    return type & ACCESSED && (!(type & CODE) || type & WRITABLE_OR_READABLE);
}

static void sweep_data(u32 selector, u32 access_rights, bool unrestricted)
{
    struct tally tally = { 0 };
    entry_prepare();
    if (!unrestricted) {
        vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "unrestricted guest is fixed to 1");
        l2_use_32_bit_paging();
        l2_turn_paging_on();
    }
    for (u32 type = 0; type < TYPES; type++)
        for (u32 dpl = 0; dpl < LEVELS; dpl++)
            for (u32 rpl = 0; rpl < LEVELS; rpl++) {
                vmcs_write(selector, SELECTOR_DATA | rpl);
                vmcs_write(access_rights, rights(type, dpl));
                bool conforming = (type & (CODE | CONFORMING)) == (CODE | CONFORMING);
                bool allowed = data_allowed(type) && (unrestricted || conforming || dpl >= rpl);
                tally_turn(&tally, type << 8 | dpl << 4 | rpl, entry_try(), outcome(allowed));
            }
    must_tally(&tally);
}

CHECK(ds, "F-15/ds", NEEDS_L2, CHECKS,
      "VM entry with unrestricted guest accepts DS by its type alone, in each of 256 combinations with DPL and RPL")
{
    sweep_data(GUEST_DS_SELECTOR, GUEST_DS_ACCESS_RIGHTS, true);
}

CHECK(gs, "F-15/gs", NEEDS_L2, CHECKS,
      "VM entry with unrestricted guest accepts GS by its type alone, in each of 256 combinations with DPL and RPL")
{
    sweep_data(GUEST_GS_SELECTOR, GUEST_GS_ACCESS_RIGHTS, true);
}

CHECK(ds_restricted, "F-15/ds-restricted", NEEDS_L2, CHECKS,
      "VM entry without unrestricted guest accepts DS by its type, DPL and RPL, in each of 256 combinations")
{
    sweep_data(GUEST_DS_SELECTOR, GUEST_DS_ACCESS_RIGHTS, false);
}

CHECK(ss, "F-15/ss", NEEDS_L2, CHECKS,
      "VM entry with unrestricted guest accepts SS by its type, and SS.DPL by that of a CS which is not conforming")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 type = 0; type < TYPES; type++)
        for (u32 dpl = 0; dpl < LEVELS; dpl++) {
            vmcs_write(GUEST_SS_SELECTOR, SELECTOR_DATA | dpl);
            vmcs_write(GUEST_SS_ACCESS_RIGHTS, rights(type, dpl));
            set_cs(11, dpl, dpl);
            tally_turn(&tally, type << 4 | dpl, entry_try(), outcome(type == 3 || type == 7));
        }
    must_tally(&tally);
}
