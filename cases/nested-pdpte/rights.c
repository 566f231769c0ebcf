/* L2-01 to L2-04: how the load of the PDPTEs ends, by the rights that EPT gives to the page that they lie in. */
#include "stage.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

CHECK(mapped, "L2-01/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "control: CR3's page is mapped by EPT, so MOV to CR0 turns PAE paging on")
{
    about_to_set_pg();
    run_must_load(pdpt);
}

CHECK(not_present, "L2-01/not-present", NEEDS_L2, PDPTE_REGISTERS "; " EPT_VIOLATIONS,
      "CR3's page is absent from EPT: MOV to CR0 that sets PG causes an EPT violation at CR3")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(read_only, "L2-02/read", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "CR3's page is readable alone (001b): the load is a read, MOV to CR0 succeeds")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ);
    run_must_load(pdpt);
}

CHECK(read_execute, "L2-02/read-execute", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "CR3's page is readable and executable (101b): the load is a read, MOV to CR0 succeeds")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ | EPT_EXECUTE);
    run_must_load(pdpt);
}

CHECK(read_only_above, "L2-02/read-above-all", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "the EPT PDE above CR3's page allows reads alone, the PTE everything: MOV to CR0 succeeds")
{
    rights_by_level(EPT_READ, EPT_ALL);
    run_must_load(pdpt);
}

CHECK(read_only_cr3, "L2-02/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "the new CR3's page is readable alone (001b): MOV to CR3 succeeds")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_READ);
    run_must_load(other_pdpt);
}

CHECK(execute_only_cr0, "L2-03/mov-cr0", NEEDS_L2, EPT_VIOLATIONS,
      "CR3's page is executable alone (100b): EPT violation, a read, bits 5:3 are 100b")
{
    need_execute_only();
    about_to_set_pg();
    ept_protect(pdpt, EPT_EXECUTE);
    run_must_violate(EPT_EXECUTE);
}

CHECK(execute_only_cr3, "L2-03/mov-cr3", NEEDS_L2, EPT_VIOLATIONS,
      "the same with the page that MOV to CR3 loads from")
{
    need_execute_only();
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_EXECUTE);
    run_must_violate(EPT_EXECUTE);
}

CHECK(write_only, "L2-04/write", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "CR3's page is writable alone (010b): EPT misconfiguration")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE);
    run_must_misconfigure();
}

CHECK(write_execute, "L2-04/write-execute", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "CR3's page is writable and executable (110b): EPT misconfiguration")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE | EPT_EXECUTE);
    run_must_misconfigure();
}

CHECK(write_only_cr3, "L2-04/mov-cr3", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "the new CR3's page is writable alone (010b): MOV to CR3 meets an EPT misconfiguration")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_WRITE);
    run_must_misconfigure();
}

extern const char l2_reads[];
asm(".pushsection .text\n"
    "l2_reads: movl (%ebx), %eax\n"
    "          vmcall\n"
    ".popsection\n");

CHECK(write_only_data, "L2-04/data-access", NEEDS_L2, EPT_MISCONFIGURATIONS "; " EXIT_INFORMATION,
      "a page writable alone (010b) and an ordinary read: EPT misconfiguration, exit qualification 0, linear address undefined")
{
    l2_prepare(l2_reads);
    l2_registers.ebx = address_of(pdpt + 3);
    ept_protect(pdpt, EPT_WRITE);
    struct vm_exit exit = l2_run();
    must_misconfigure_at_pdptes(&exit, address_of(pdpt));
    must_stop_at(&exit, l2_reads);
    noted("guest_linear_address", vmcs_read(GUEST_LINEAR_ADDRESS));
    saw_exit(&exit, l2_reads);
}
