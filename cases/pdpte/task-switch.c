/* Task switches: they load CR3 from the new TSS, and the PDPTE registers when that changes CR3. */
#include "check.h"
#include "stage.h"
#include "task.h"

#define LOADS "PDPTE Registers (Vol. 3, 4.4.1); Task Switching (Vol. 3, 8.3)"

static u64 other_pdpt[4] __attribute__((aligned(32)));

/* A table to switch to, that differs in the window alone. */
static void set_other_table(u64 pdpte)
{
    stage_set();
    for (u32 index = 0; index < 4; index++)
        other_pdpt[index] = tables.pdpt[index];
    other_pdpt[WINDOW] = pdpte;
}

CHECK(good_table, "P-19/good-table", NEEDS_PAE, LOADS,
      "Control: a task switch that changes CR3 loads the PDPTEs at the new address")
{
    set_other_table(other_pdpte());
    mode_enter(pae());
    struct task_switch seen = task_switch(address_of(other_pdpt));
    must_not_fault(seen.trap);
    must("in_new_task", seen.in_new_task, true);
    must("cr3", read_cr3(), address_of(other_pdpt));
    must("window", through_window(), OTHER);
    mode_leave();
}

CHECK(corrupt_table, "P-19/corrupt-table", NEEDS_PDPTE_REGISTERS, LOADS,
      "A task switch that changes CR3 to a table with a reserved bit faults, or reaches the new task")
{
    struct mode mode = pae();
    mode.cr4 |= CR4_PGE;
    set_other_table(other_pdpte() | PDPTE_RESERVED);
    /* The image in global pages: so IDT, GDT and TSS are found even if the PDPTE registers are emptied first, as Bochs
       does. */
    tables.directories[0][0] |= PTE_GLOBAL;
    tables.directories[0][1] |= PTE_GLOBAL;
    mode_enter(mode);
    must("mov_to_cr3_faults", trap_in(mov_to_cr3, address_of(other_pdpt)).taken, true);
    struct task_switch seen = task_switch(address_of(other_pdpt));
    mode_leave();
    /* Only this much is required: after a JMP to a task the old one does not go on with the next instruction. */
    must("fault_or_new_task", seen.trap.taken || seen.in_new_task, true);
    saw("fault", seen.trap.taken);
    if (seen.trap.taken) {
        saw("vector", seen.trap.vector);
        saw("error_code", seen.trap.error_code);
    }
    saw("in_new_task", seen.in_new_task);
    leave_open();
}

/* Switch with CR3 unchanged and this PDPTE in memory. */
static void must_not_load(u64 pdpte)
{
    stage_set();
    mode_enter(pae());
    tables.pdpt[WINDOW] = pdpte;
    struct task_switch seen = task_switch(pae().cr3);
    must_not_fault(seen.trap);
    must("in_new_task", seen.in_new_task, true);
    must("cr3", read_cr3(), pae().cr3);
    must("window", through_window(), HERE);
    mode_leave();
}

CHECK(same_cr3, "P-20/same-cr3", NEEDS_PDPTE_REGISTERS, LOADS,
      "A task switch that does not change CR3 does not load a PDPTE that was changed in memory")
{
    must_not_load(other_pdpte());
}

CHECK(same_cr3_corrupt, "P-20/same-cr3-corrupt", NEEDS_PDPTE_REGISTERS, LOADS,
      "A task switch that does not change CR3 causes no exception when a PDPTE in memory has a reserved bit")
{
    must_not_load(other_pdpte() | PDPTE_RESERVED);
}
