/* MOV to CR0 with PAE loads the PDPTEs through EPT. Seed of the project: see case.toml. */
#include "check.h"
#include "console.h"
#include "cpu.h"
#include "ept.h"
#include "l2.h"
#include "paging.h"
#include "vmx.h"

enum { REACHED_END = 0x600D, GENERAL_PROTECTION = 13 };

/* Of a PDPTE that a VM exit saves, bits 11:9 are undefined, and so is all but bit 0 of one that is not present
   (SDM, "Saving Non-Register State"). Ours are all present. */
#define PDPTE_SAVED (~(u64)0xE00)

static struct pae_tables tables;

/* L2: set CR0.PG, then say that this worked. */
extern const char l2_sets_pg[], l2_mov_to_cr0[], l2_vmcall[];
asm(".pushsection .text\n"
    "l2_sets_pg:    movl %cr0, %eax\n"
    "               orl $0x80000000, %eax\n"
    "l2_mov_to_cr0: movl %eax, %cr0\n"
    "               movl $0x600D, %eax\n"
    "l2_vmcall:     vmcall\n"
    ".popsection\n");

/* Run L2 up to its MOV to CR0 with EPT allowing `rights` on the page that CR3 points at. */
static struct vm_exit set_pg_with(u32 rights)
{
    pae_identity(&tables);
    l2_prepare(l2_sets_pg);
    vmcs_write(GUEST_CR3, address_of(tables.pdpt));
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PAE);
    ept_protect(tables.pdpt, rights);
    return l2_run();
}

static struct vm_exit control, load; /* what the two checks saw, for the screen */

CHECK(mapped, "mapped", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "Control: MOV to CR0 turns PAE paging on when EPT maps CR3's page")
{
    struct vm_exit exit = control = set_pg_with(EPT_ALL);
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    must("rip_offset", rip_offset(&exit, l2_mov_to_cr0), (u32)(l2_vmcall - l2_mov_to_cr0));
    must("cr0", exit.cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    must("guest_pdpte0", exit.pdpte[0] & PDPTE_SAVED, tables.pdpt[0]);
    must("guest_pdpte1", exit.pdpte[1] & PDPTE_SAVED, tables.pdpt[1]);
    must("guest_pdpte2", exit.pdpte[2] & PDPTE_SAVED, tables.pdpt[2]);
    must("guest_pdpte3", exit.pdpte[3] & PDPTE_SAVED, tables.pdpt[3]);
    saw_exit(&exit, l2_mov_to_cr0);
}

CHECK(not_present, "not-present", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1); EPT Violations (Vol. 3, 29.3.3.2)",
      "MOV to CR0 that sets PG with PAE causes an EPT violation at CR3 when CR3's page is absent from EPT")
{
    struct vm_exit exit = load = set_pg_with(EPT_NOTHING);
    must_violate_at_pdptes(&exit, exit.cr3, EPT_NOTHING);
    must_stop_at(&exit, l2_mov_to_cr0);
    must("cr0", exit.cr0, CR0_PE | CR0_ET | CR0_NE);
    must("cr3", exit.cr3, address_of(tables.pdpt));
    saw_exit(&exit, l2_mov_to_cr0);
}

/* The words on the screen have the places that they had in the first report of the bug. They are about `not-present`,
   and a control that fails takes its place: then nothing is known of the bug, and GOOD or BAD would be a guess. */
struct condition case_end(void)
{
    bool control_failed = verdict_of("mapped") == FAIL;
    const struct vm_exit *exit = control_failed ? &control : &load;
    if (all_skipped())
        return CONDITION_OF("skip: ", all_skipped());
    if (!control_failed && verdict_of("not-present") == NOT_RUN)
        return CONDITION("not-present was not selected");
    if (exit->failed_entry) {
        show(22, 0, "???");
        return CONDITION("VM entry failed (incorrect)");
    }
    if (control_failed) {
        show(exit->exception ? 23 : 22, 0, exit->exception ? "????" : "???");
        return CONDITION("the control check failed (incorrect)");
    }
    if (exit->reason == EXIT_EPT_VIOLATION && (exit->guest_physical_address & ~(u64)31) == address_of(tables.pdpt)) {
        show(21, 0, "GOOD");
        return CONDITION("hypervisor receives EPT violation at CR3 (correct)");
    }
    if (exit->exception && exit->vector == GENERAL_PROTECTION) {
        show(20, 0, "BAD");
        return CONDITION("guest receives #GP (incorrect)");
    }
    if (exit->exception) {
        show(23, 0, "????");
        return CONDITION("guest receives another exception (incorrect)");
    }
    show(22, 0, "???");
    return CONDITION("hypervisor receives another VM exit (incorrect)");
}
