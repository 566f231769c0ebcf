/* MOV to CR0 with PAE loads the PDPTEs through EPT. Seed of the project: see case.toml. */
#include "check.h"
#include "console.h"
#include "cpu.h"
#include "ept.h"
#include "l2.h"
#include "paging.h"
#include "vmx.h"

enum { REACHED_END = 0x600D, GENERAL_PROTECTION = 13 };
/* Exit qualification of an EPT violation (SDM, "Exit Qualification for EPT Violations"). */
enum { QUALIFICATION_READ = 1 << 0, QUALIFICATION_ALLOWED = 7 << 3, QUALIFICATION_LINEAR_VALID = 1 << 7 };

static struct pae_tables tables;

/* L2: set CR0.PG, then say that this worked. */
extern const char l2_sets_pg[], l2_mov_to_cr0[];
asm(".pushsection .text\n"
    "l2_sets_pg:    movl %cr0, %eax\n"
    "               orl $0x80000000, %eax\n"
    "l2_mov_to_cr0: movl %eax, %cr0\n"
    "               movl $0x600D, %eax\n"
    "               vmcall\n"
    ".popsection\n");

static struct vm_exit last;

/* Run L2 up to its MOV to CR0 with EPT allowing `rights` on the page that CR3 points at. */
static struct vm_exit set_pg_with(u32 rights)
{
    pae_identity(&tables);
    l2_prepare(l2_sets_pg);
    vmcs_write(GUEST_CR3, address_of(tables.pdpt));
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PAE);
    *ept_leaf(tables.pdpt) = rights ? address_of(tables.pdpt) | EPT_WRITE_BACK | rights : 0;
    ept_flush();
    last = l2_run();
    return last;
}

CHECK(mapped, "mapped", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "control: CR3's page is mapped by EPT, so MOV to CR0 turns PAE paging on")
{
    struct vm_exit exit = set_pg_with(EPT_ALL);
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.eax, REACHED_END);
    must("cr0", exit.cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    /* With EPT and PAE paging a VM exit saves the PDPTE registers (SDM, "Saving Non-Register State"). */
    must("guest_pdpte0", exit.pdpte[0], tables.pdpt[0]);
    must("guest_pdpte1", exit.pdpte[1], tables.pdpt[1]);
    l2_saw_exit(&exit, l2_mov_to_cr0);
}

CHECK(not_present, "not-present", NEEDS_L2,
      "PDPTE Registers (Vol. 3, 4.4.1); EPT Violations (Vol. 3, 29.3.3.2)",
      "CR3's page is absent from EPT: MOV to CR0 that sets PG with PAE causes an EPT violation at CR3")
{
    struct vm_exit exit = set_pg_with(0);
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    if (exit.reason == EXIT_EPT_VIOLATION) {
        /* The access is the read of a PDPTE: anywhere in the 32 bytes at CR3. */
        must("guest_physical_address", exit.guest_physical_address & ~(u64)31, exit.cr3);
        must("exit_qualification_read", exit.qualification & QUALIFICATION_READ, 1);
        must("exit_qualification_allowed", exit.qualification & QUALIFICATION_ALLOWED, 0);
        must("exit_qualification_linear_valid", exit.qualification & QUALIFICATION_LINEAR_VALID, 0);
    } else {
        noted("guest_physical_address", exit.guest_physical_address);
    }
    noted("exit_qualification", exit.qualification); /* bit 8 and above are undefined while bit 7 is clear */
    noted("guest_linear_address", exit.guest_linear_address);
    must("cr0", exit.cr0, CR0_PE | CR0_ET | CR0_NE);
    must("rip_offset", exit.rip - address_of(l2_mov_to_cr0), 0);
    l2_saw_exit(&exit, l2_mov_to_cr0);
}

/* The verdict on the screen, where the bug's first report had it. It is about `not-present`, which runs last. */
struct condition case_end(void)
{
    if (all_skipped())
        return CONDITION("skip: this CPU cannot run the case");
    if (last.reason == EXIT_EPT_VIOLATION && (last.guest_physical_address & ~(u64)31) == last.cr3) {
        show(21, 0, "GOOD");
        return CONDITION("hypervisor receives EPT violation at CR3 (correct)");
    }
    if (last.exception && last.vector == GENERAL_PROTECTION) {
        show(20, 0, "BAD");
        return CONDITION("guest receives #GP (incorrect)");
    }
    if (last.exception) {
        show(23, 0, "????");
        return CONDITION("guest receives another exception (incorrect)");
    }
    show(22, 0, "???");
    return CONDITION("hypervisor receives another VM exit (incorrect)");
}
