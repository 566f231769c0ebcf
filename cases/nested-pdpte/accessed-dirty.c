/* L2-10 to L2-12: with accessed and dirty flags on for EPT, the load of the PDPTEs is a read all the same. */
#include "stage.h"

#include "tally.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

/* What L2 does to show that flags and log work at all: a write through the window, without paging. */
extern const char l2_writes[];
asm(".pushsection .text\n"
    "l2_writes: movl %eax, (%ebx)\n"
    "           vmcall\n"
    ".popsection\n");

static void about_to_write(const char *code)
{
    l2_prepare(code);
    l2_registers.ebx = WINDOW + 8; /* whose page is logged */
    ept_map(WINDOW, other_pdpt, EPT_ALL);
}

/* The flags in the entries that translate the window alone. */
static void must_flag(u32 accessed, u32 dirty)
{
    must("accessed_pdpte", *ept_entry(WINDOW, EPT_PDPTE) & EPT_ACCESSED, accessed);
    must("accessed_pde", *ept_entry(WINDOW, EPT_PDE) & EPT_ACCESSED, accessed);
    must("accessed_pte", *ept_entry(WINDOW, EPT_PTE) & EPT_ACCESSED, accessed);
    must("dirty_pte", *ept_entry(WINDOW, EPT_PTE) & EPT_DIRTY, dirty);
}

CHECK(flags_written, "L2-10/write", NEEDS_L2, EPT_FLAGS,
      "Control: a write of L2 sets the accessed flags and the dirty flag of EPT")
{
    about_to_write(l2_writes);
    ept_track();
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must_flag(EPT_ACCESSED, EPT_DIRTY);
    saw_exit(&exit, l2_writes);
}

CHECK(flags_off, "L2-10/off", NEEDS_L2, EPT_FLAGS,
      "Control: MOV to CR0 that loads the PDPTEs sets no flag of EPT when bit 6 of EPTP is 0")
{
    about_to_set_pg();
    put_table_in_window();
    run_must_load(pdpt);
    must_flag(0, 0);
}

CHECK(flags_cr0, "L2-10/mov-cr0", NEEDS_L2, EPT_FLAGS,
      "MOV to CR0 that loads the PDPTEs sets the accessed flags of their page in EPT and not the dirty flag")
{
    about_to_set_pg();
    put_table_in_window();
    ept_track();
    run_must_load(pdpt);
    must_flag(EPT_ACCESSED, 0);
}

CHECK(flags_cr3, "L2-10/mov-cr3", NEEDS_L2, EPT_FLAGS,
      "MOV to CR3 that loads the PDPTEs sets the accessed flags of their page in EPT and not the dirty flag")
{
    about_to(l2_mov_cr3, WINDOW);
    ept_map(WINDOW, other_pdpt, EPT_ALL);
    ept_track();
    run_must_load(other_pdpt);
    must_flag(EPT_ACCESSED, 0);
}

CHECK(flags_cr4, "L2-10/mov-cr4", NEEDS_L2, EPT_FLAGS,
      "MOV to CR4 that toggles PSE sets the accessed flags of the PDPTEs' page in EPT and not the dirty flag")
{
    about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);
    put_table_in_window();
    ept_track();
    run_must_load(pdpt);
    must_flag(EPT_ACCESSED, 0);
}

CHECK(read_only_cr0, "L2-11/mov-cr0", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR0 loads the PDPTEs from a page that is read-only in EPT when accessed and dirty flags are on")
{
    about_to_set_pg();
    put_table_in_window();
    ept_map(WINDOW, pdpt, EPT_READ);
    ept_track();
    run_must_load(pdpt);
    must_flag(EPT_ACCESSED, 0);
}

CHECK(read_only_cr3, "L2-11/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR3 loads the PDPTEs from a page that is read-only in EPT when accessed and dirty flags are on")
{
    about_to(l2_mov_cr3, WINDOW);
    ept_map(WINDOW, other_pdpt, EPT_READ);
    ept_track();
    run_must_load(other_pdpt);
    must_flag(EPT_ACCESSED, 0);
}

/* With the flags on page walks are writes, and logged. What the code after the MOV needs is marked beforehand: its
   page, and the page directory that maps it. Then the load of the PDPTEs is all that could be logged. */
static void log_loads_alone(u32 index)
{
    ept_mark_used(l2_mov_cr0);
    ept_mark_used(l2_mov_cr3_then);
    ept_mark_used(l2_tables.pae.directories[0]);
    ept_log_from(index);
}

/* The accessed flags of the window are set beforehand: a processor may look at the log for the sake of one of them,
   too. */
static void mark_window_accessed(void)
{
    for (enum ept_level level = EPT_PTE; level <= EPT_PML4E; level++)
        *ept_entry(WINDOW, level) |= EPT_ACCESSED;
}

static void must_have_logged(u32 index, u64 entry)
{
    must("pml_index", vmcs_read(GUEST_PML_INDEX), index);
    must("pml_entry", ept_log[EPT_LOG_ENTRIES - 1], entry);
}

CHECK(log_written, "L2-12/write", NEEDS_L2, EPT_LOG,
      "Control: a write of L2 is logged, and the PML index goes down by 1")
{
    about_to_write(l2_writes);
    ept_log_from(EPT_LOG_ENTRIES - 1);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must_have_logged(EPT_LOG_ENTRIES - 2, WINDOW);
    saw_exit(&exit, l2_writes);
}

/* The code before the write must run: what it needs is marked, and so are the accessed flags of the window. Then the
   dirty flag of the window's page is all that the log is needed for. */
extern const char l2_writes_later[], l2_full_write[];
asm(".pushsection .text\n"
    "l2_writes_later: movl $0x600D, %ecx\n"
    "l2_full_write:   movl %eax, (%ebx)\n"
    "                 vmcall\n"
    ".popsection\n");

CHECK(log_full_written, "L2-12/write-full", NEEDS_L2, EPT_LOG,
      "Control: a write of L2 with a full log causes a page-modification log-full exit and sets no dirty flag")
{
    about_to_write(l2_writes_later);
    mark_window_accessed();
    ept_mark_used(l2_writes_later);
    ept_log_from(EPT_LOG_FULL);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_PML_FULL);
    must("ecx", exit.registers.ecx, REACHED_END);
    must_stop_at(&exit, l2_full_write);
    must("dirty_pte", *ept_entry(WINDOW, EPT_PTE) & EPT_DIRTY, 0);
    must_have_logged(EPT_LOG_FULL, 0);
    saw_exit(&exit, l2_full_write);
}

CHECK(log_each_index, "L2-12/each-index", NEEDS_L2, EPT_LOG,
      "Control: a write of L2 is logged at the PML index, and one above 511 causes a log-full exit")
{
    static const u32 indexes[] = { 512, 513, 0x3FF, 0x400, 0x8000, EPT_LOG_FULL, 0, 1, 255, 511 };
    struct tally tally = { 0 };
    for (u32 turn = 0; turn < ARRAY_SIZE(indexes); turn++) {
        u32 index = indexes[turn];
        bool full = index >= EPT_LOG_ENTRIES;
        u64 page = WINDOW + (turn & 1) * PAGE_SIZE;
        about_to_write(l2_writes);
        l2_registers.ebx = (u32)page;
        ept_map(page, other_pdpt, EPT_ALL);
        mark_window_accessed();
        ept_mark_used(l2_writes);
        ept_log_from(index);
        struct vm_exit exit = l2_run();
        tally_turn(&tally, index, exit.reason, full ? EXIT_PML_FULL : EXIT_VMCALL);
        tally_turn(&tally, index | 1 << 16, vmcs_read(GUEST_PML_INDEX), full ? index : (index - 1) & EPT_LOG_FULL);
        if (!full)
            tally_turn(&tally, index | 2 << 16, ept_log[index], page);
    }
    must_tally(&tally);
}

CHECK(log_cr3, "L2-12/mov-cr3", NEEDS_L2, EPT_LOG "; " EPT_FLAGS,
      "MOV to CR3 that loads the PDPTEs adds no entry to the page-modification log")
{
    about_to(l2_mov_cr3, WINDOW);
    ept_map(WINDOW, other_pdpt, EPT_ALL);
    log_loads_alone(EPT_LOG_ENTRIES - 1);
    run_must_load(other_pdpt);
    must_have_logged(EPT_LOG_ENTRIES - 1, 0);
}

CHECK(log_cr0, "L2-12/mov-cr0", NEEDS_L2, EPT_LOG "; " EPT_FLAGS,
      "MOV to CR0 that loads the PDPTEs adds no entry to the page-modification log")
{
    about_to_set_pg();
    put_table_in_window();
    log_loads_alone(EPT_LOG_ENTRIES - 1);
    run_must_load(pdpt);
    must_have_logged(EPT_LOG_ENTRIES - 1, 0);
}

CHECK(log_full_fetch, "L2-12/fetch-full", NEEDS_L2, EPT_LOG,
      "L2 runs with a full log when all accessed and dirty flags that it needs are set")
{
    l2_prepare(l2_mov_cr0_then);
    log_loads_alone(EPT_LOG_FULL);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    must_have_logged(EPT_LOG_FULL, 0);
    saw_exit(&exit, l2_mov_cr0_then);
}

CHECK(log_full_cr0, "L2-12/mov-cr0-full", NEEDS_L2, EPT_LOG "; " EPT_FLAGS,
      "MOV to CR0 loads the PDPTEs with a full log, as the load sets no dirty flag")
{
    about_to_set_pg();
    put_table_in_window();
    mark_window_accessed();
    log_loads_alone(EPT_LOG_FULL);
    run_must_load(pdpt);
    must_flag(EPT_ACCESSED, 0);
    must_have_logged(EPT_LOG_FULL, 0);
}

/* #GP is an exit: where the load fails, its delivery then accesses nothing of L2 that could be logged. */
CHECK(log_full_then, "L2-12/violation-after-full", NEEDS_L2, EPT_LOG "; " EPT_VIOLATIONS,
      "An EPT violation of L2 without page-modification logging exits as such after a MOV to CR0 with a full log")
{
    about_to_set_pg();
    put_table_in_window();
    mark_window_accessed();
    log_loads_alone(EPT_LOG_FULL);
    vmcs_write(EXCEPTION_BITMAP, 1 << GENERAL_PROTECTION);
    struct vm_exit first = l2_run();
    noted("first_exit_reason", first.reason); /* what L2-12/mov-cr0-full is about */
    about_to_write(l2_writes);
    ept_map(WINDOW, other_pdpt, EPT_READ);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must_stop_at(&exit, l2_writes);
    saw_exit(&exit, l2_writes);
}
