/* L2-01 to L2-04: how the load of the PDPTEs ends, by the rights that EPT gives to the page that they lie in. */
#include "stage.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

CHECK(mapped, "L2-01/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 turns PAE paging on when EPT maps CR3's page")
{
    about_to_set_pg();
    run_must_load(pdpt);
}

CHECK(not_present, "L2-01/not-present", NEEDS_L2, PDPTE_REGISTERS "; " EPT_VIOLATIONS,
      "MOV to CR0 that sets PG causes an EPT violation at CR3 when CR3's page is absent from EPT")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(read_only, "L2-02/read", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR0 loads the PDPTEs from a page that is read-only in EPT (001b)")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ);
    run_must_load(pdpt);
}

CHECK(read_execute, "L2-02/read-execute", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR0 loads the PDPTEs from a page that is readable and executable in EPT (101b)")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ | EPT_EXECUTE);
    run_must_load(pdpt);
}

CHECK(read_only_above, "L2-02/read-above-all", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR0 loads the PDPTEs when the EPT PDE above their page allows reads alone")
{
    rights_by_level(EPT_READ, EPT_ALL);
    run_must_load(pdpt);
}

CHECK(read_only_cr3, "L2-02/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR3 loads the PDPTEs from a page that is read-only in EPT (001b)")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_READ);
    run_must_load(other_pdpt);
}

CHECK(execute_only_cr0, "L2-03/mov-cr0", NEEDS_L2, EPT_VIOLATIONS,
      "MOV to CR0 causes an EPT violation of a read when CR3's page is execute-only in EPT (100b)")
{
    need_execute_only();
    about_to_set_pg();
    ept_protect(pdpt, EPT_EXECUTE);
    run_must_violate(EPT_EXECUTE);
}

CHECK(execute_only_cr3, "L2-03/mov-cr3", NEEDS_L2, EPT_VIOLATIONS,
      "MOV to CR3 causes an EPT violation of a read when the new CR3's page is execute-only in EPT (100b)")
{
    need_execute_only();
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_EXECUTE);
    run_must_violate(EPT_EXECUTE);
}

CHECK(write_only, "L2-04/write", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "MOV to CR0 causes an EPT misconfiguration when CR3's page is write-only in EPT (010b)")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE);
    run_must_misconfigure();
}

CHECK(write_execute, "L2-04/write-execute", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "MOV to CR0 causes an EPT misconfiguration when CR3's page is writable and executable in EPT (110b)")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE | EPT_EXECUTE);
    run_must_misconfigure();
}

CHECK(write_only_cr3, "L2-04/mov-cr3", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "MOV to CR3 causes an EPT misconfiguration when the new CR3's page is write-only in EPT (010b)")
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
      "A read of a page that is write-only in EPT (010b) causes an EPT misconfiguration with exit qualification 0")
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
