/* What the kit promises a hypervisor: outcomes of VMX instructions and VM entries, and L1 in other modes. */
#include "check.h"
#include "cpu.h"
#include "entry.h"
#include "l1_mode.h"
#include "l2_modes.h"
#include "paging.h"
#include "tally.h"
#include "vmx.h"

enum { NO_FIELD = FIELD_ENCODING(FIELD_16, FIELD_CONTROL, 0x1FF) }; /* a check's own field */
enum { UNSUPPORTED_COMPONENT = 12, READ_ONLY_COMPONENT = 13, INVALID_VMPTRLD_ADDRESS = 9, BAD_RFLAGS = 0 };
#define HIGH_HALF 0x123400000000u

static struct pae_tables tables;

CHECK(refused, "pass/vmfail", NEEDS_L2, "none", "VMX instructions return how they failed, and L1 goes on")
{
    u64 value = 0;
    entry_prepare();
    must_vmfail(vmx_vmread(NO_FIELD, &value), UNSUPPORTED_COMPONENT);
    must("read", vmx_vmread(GUEST_RIP, &value), VM_SUCCEED);
    must("vmptrld", vmx_vmptrld(address_of(&tables) + 1), INVALID_VMPTRLD_ADDRESS);
    must("vmclear", vmx_vmclear(vmx_regions().vmcs), VM_SUCCEED);
    must("no_current_vmcs", vmx_vmwrite(GUEST_RIP, 0), VM_FAIL_INVALID);
}

static void refuse_and_enter(void)
{
    vmcs_write(GUEST_RFLAGS, BAD_RFLAGS);
    u64 failed = entry_try(), again = entry_try();
    vmcs_write(GUEST_RFLAGS, 2);
    u64 entered = entry_try();
    vmcs_write(CR3_TARGET_COUNT, 0x1FF);
    u64 refused = entry_try();
    vmcs_write(CR3_TARGET_COUNT, 0);
    u64 resumed = entry_try();
    must("failed", failed, ENTRY_FAILED(GUEST_STATE_INVALID, 0));
    must("failed_again", again, ENTRY_FAILED(GUEST_STATE_INVALID, 0));
    must("entered", entered, ENTRY_RAN);
    must("refused", refused, ENTRY_CONTROLS_INVALID);
    must("resumed", resumed, ENTRY_RAN);
}

CHECK(entries_32, "pass/entries-32-bit", NEEDS_L2, "none", "A 32-bit L1 goes on after entries that fail")
{
    entry_prepare();
    refuse_and_enter();
}

CHECK(entries_pae, "pass/entries-pae", NEEDS_L2, "none", "An L1 in PAE paging goes on after entries that fail")
{
    pae_identity(&tables);
    entry_prepare();
    l1_in_pae_paging(address_of(tables.pdpt));
    refuse_and_enter();
    must("cr3", read_cr3(), address_of(tables.pdpt));
    must("cr4", read_cr4() & CR4_PAE, CR4_PAE);
}

CHECK(entries_64, "pass/entries-64-bit", NEEDS_L2, "none", "A 64-bit L1 goes on after entries that fail")
{
    entry_prepare();
    l1_in_64_bit_mode();
    refuse_and_enter();
    must("efer", read_msr(IA32_EFER) & EFER_LMA, EFER_LMA);
}

CHECK(wide, "pass/natural-width", NEEDS_L2, "none", "A 64-bit L1 reaches all bits of a natural-width field")
{
    entry_prepare();
    vmcs_write64(HOST_FS_BASE, HIGH_HALF);
    must("in_32_bit_code", vmcs_read64(HOST_FS_BASE), 0);
    l1_in_64_bit_mode();
    vmcs_write64(HOST_FS_BASE, HIGH_HALF);
    must("in_64_bit_code", vmcs_read64(HOST_FS_BASE), HIGH_HALF);
    must("outcome", entry_try(), ENTRY_RAN);
}

CHECK(home_again, "pass/home-again", NEEDS_L2, "none", "L1 is at home after a check that left it in another mode")
{
    must("pae", read_cr4() & CR4_PAE, 0);
    entry_prepare();
    must_enter();
}

CHECK(each_turn, "pass/tally", NEEDS_NOTHING, "none", "A tally counts its turns")
{
    struct tally tally = { 0 };
    for (u32 turn = 0; turn < 200; turn++)
        tally_turn(&tally, turn, turn, turn);
    must("counted", tally.turns, 200);
    must_tally(&tally);
}

CHECK(wrong_turns, "fail/tally", NEEDS_NOTHING, "none", "One wrong turn of a tally is a FAIL")
{
    struct tally tally = { 0 };
    for (u32 turn = 0; turn < 200; turn++)
        tally_turn(&tally, turn, turn & ~64u, turn);
    must_tally(&tally);
}

CHECK(no_entry, "fail/entry", NEEDS_L2, "none", "An entry that must fail and does not is a FAIL")
{
    entry_prepare();
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(entry, "fail/failed-entry", NEEDS_L2, "none", "An entry that must not fail and does is a FAIL")
{
    entry_prepare();
    vmcs_write(GUEST_RFLAGS, BAD_RFLAGS);
    must_enter();
}

CHECK(accepted, "fail/accepted-entry", NEEDS_L2, "none", "An entry that must be refused and is not is a FAIL")
{
    entry_prepare();
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}
