/* L2-05 to L2-09: how the load ends by what else the EPT entries of that page hold, and what the exit reports. */
#include "stage.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

static void edit_leaf(u64 clear, u64 set)
{
    u64 *leaf = ept_leaf(pdpt);
    *leaf = (*leaf & ~clear) | set;
    ept_flush();
}

static void memory_type(u32 type)
{
    about_to_set_pg();
    edit_leaf(EPT_MEMORY_TYPE(7), EPT_MEMORY_TYPE(type));
}

CHECK(memory_type_uncacheable, "L2-05/memory-type-0", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "Control: MOV to CR0 loads the PDPTEs from a page with memory type 0 (UC) in EPT")
{
    memory_type(0);
    run_must_load(pdpt);
}

#define RESERVED_MEMORY_TYPE(type)                                                                                     \
    CHECK(memory_type_##type, "L2-05/memory-type-" #type, NEEDS_L2, EPT_MISCONFIGURATIONS,                             \
          "MOV to CR0 causes an EPT misconfiguration when CR3's page has the reserved memory type " #type " in EPT")   \
    {                                                                                                                  \
        memory_type(type);                                                                                             \
        run_must_misconfigure();                                                                                       \
    }
RESERVED_MEMORY_TYPE(2)
RESERVED_MEMORY_TYPE(3)
RESERVED_MEMORY_TYPE(7)

CHECK(ignored_bits, "L2-05/ignored-bits", NEEDS_L2, EPT_TRANSLATION,
      "Control: MOV to CR0 loads the PDPTEs from a page whose EPT entry has bits 63:52 set")
{
    about_to_set_pg();
    edit_leaf(0, (u64)0xFFF << 52);
    run_must_load(pdpt);
}

CHECK(address_bits, "L2-05/address-bits", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "MOV to CR0 causes an EPT misconfiguration when CR3's page has an EPT address bit that the CPU lacks")
{
    u64 misconfigured = 0, lacking = ((u64)1 << 52) - ((u64)1 << physical_address_bits());
    if (!lacking)
        skip("no address bit is reserved");
    about_to_set_pg();
    for (u32 bit = physical_address_bits(); bit < 52; bit++) {
        edit_leaf(lacking, (u64)1 << bit);
        struct vm_exit exit = l2_run();
        if (exit.reason == EXIT_EPT_MISCONFIGURATION && exit.rip == address_of(l2_mov_cr0))
            misconfigured |= (u64)1 << bit;
        about_to_again();
    }
    noted("reserved_bits", lacking);
    must("reserved_bits_not_misconfigured", lacking & ~misconfigured, 0);
    run_must_misconfigure(); /* the last one again, field by field */
}

static void hole_at(enum ept_level level)
{
    about_to_set_pg();
    put_table_in_window();
    *ept_entry(WINDOW, level) = 0;
    ept_flush();
    run_must_violate(EPT_NOTHING);
}

CHECK(no_hole, "L2-06/mapped", NEEDS_L2, EPT_TRANSLATION,
      "Control: MOV to CR0 loads the PDPTEs from a page that an EPT PDPTE, PDE and PTE of its own map")
{
    about_to_set_pg();
    put_table_in_window();
    run_must_load(pdpt);
}

CHECK(hole_pte, "L2-06/pte", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR0 causes an EPT violation when the EPT PTE of CR3's page is 0")
{
    hole_at(EPT_PTE);
}

CHECK(hole_pde, "L2-06/pde", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR0 causes an EPT violation when the EPT PDE above CR3's page is 0")
{
    hole_at(EPT_PDE);
}

CHECK(hole_pdpte, "L2-06/pdpte", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR0 causes an EPT violation when the EPT PDPTE above CR3's page is 0")
{
    hole_at(EPT_PDPTE);
}

/* CR3 has 32 bits, so the first EPT PML4E translates it whatever it is. All else that L2 uses goes through the second
   one, which maps the same memory: its page tables and what they map lie there. Paging must be on for that. */
#define BEYOND_PML4E ((u64)1 << 39)

static void use_second_pml4e(void)
{
    about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);
    *ept_entry(BEYOND_PML4E, EPT_PML4E) = *ept_entry(0, EPT_PML4E);
    for (u32 entry = 0; entry < 4 * 512; entry++)
        l2_tables.pae.directories[entry / 512][entry % 512] |= BEYOND_PML4E;
    u64 pdptes[4];
    for (u32 index = 0; index < 4; index++) {
        pdpt[index] |= BEYOND_PML4E;
        pdptes[index] = pdpt[index] & ~(u64)PDPTE_PWT;
    }
    starts_with_pdptes(pdptes);
}

CHECK(no_hole_pml4e, "L2-06/pml4e-mapped", NEEDS_L2, EPT_TRANSLATION,
      "Control: MOV to CR4 loads the PDPTEs when the second EPT PML4E translates all but CR3's page")
{
    if (physical_address_bits() < 40)
        skip("physical addresses of less than 40 bits: there is one EPT PML4E alone");
    use_second_pml4e();
    run_must_load(pdpt);
}

CHECK(hole_pml4e, "L2-06/pml4e", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR4 that toggles PSE causes an EPT violation when the EPT PML4E above CR3's page is 0")
{
    if (physical_address_bits() < 40)
        skip("physical addresses of less than 40 bits: there is one EPT PML4E alone");
    use_second_pml4e();
    *ept_entry(0, EPT_PML4E) = 0;
    ept_flush();
    run_must_violate(EPT_NOTHING);
}

/* The last 32 bytes of the page; what lies at its beginning would be #GP. */
static u64 *table_at_fe0(void)
{
    u64 *last = pdpt + 508;
    for (u32 index = 0; index < 4; index++) {
        last[index] = pdpt[index];
        pdpt[index] |= 2;
    }
    return last;
}

CHECK(offset_mapped, "L2-07/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 loads PDPTEs at offset FE0h of a page that EPT maps")
{
    about_to_set_pg();
    use_table(table_at_fe0());
    run_must_load(pdpt + 508);
}

CHECK(offset, "L2-07/offset-fe0", NEEDS_L2, EXIT_INFORMATION,
      "An EPT violation of MOV to CR0 reports the address of PDPTEs at offset FE0h, not that of their page")
{
    about_to_set_pg();
    use_table(table_at_fe0());
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(offset_cr3, "L2-07/offset-fe0-mov-cr3", NEEDS_L2, EXIT_INFORMATION,
      "An EPT violation of MOV to CR3 reports the address of PDPTEs at offset FE0h, not that of their page")
{
    about_to(l2_mov_cr3, address_of(other_pdpt + 508));
    ept_protect(other_pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(low_bits, "L2-07/low-bits", NEEDS_L2, PDPTE_REGISTERS "; " EXIT_INFORMATION,
      "An EPT violation of MOV to CR0 reports an address without bits 4:0 of CR3")
{
    about_to_set_pg();
    use_table((u64 *)(address_of(pdpt + 4) | 0x1F));
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(both_read_write, "L2-08/mapped", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "Control: MOV to CR0 loads the PDPTEs when the EPT PDE and PTE allow all but fetches")
{
    rights_by_level(EPT_READ | EPT_WRITE, EPT_READ | EPT_WRITE);
    run_must_load(pdpt);
}

CHECK(upper_execute_only, "L2-08/execute-above-all", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "An EPT violation of MOV to CR0 reports a read, and fetches alone allowed, when the EPT PDE allows those alone")
{
    need_execute_only();
    rights_by_level(EPT_EXECUTE, EPT_ALL);
    run_must_violate(EPT_EXECUTE);
}

CHECK(disjoint, "L2-08/execute-above-read-write", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "An EPT violation of MOV to CR0 reports in bits 5:3 the AND of the rights of EPT PDE and PTE")
{
    need_execute_only();
    rights_by_level(EPT_EXECUTE, EPT_READ | EPT_WRITE);
    run_must_violate(EPT_NOTHING);
}

/* The first exit is judged by L2-01 and the like in full; here it is what comes after it that counts. */
static void faults_then_loads(u64 *table)
{
    ept_protect(table, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must("exit_reason_first", exit.reason, EXIT_EPT_VIOLATION);
    ept_protect(table, EPT_ALL);
    run_must_load(table);
}

CHECK(retry_cr0, "L2-09/mov-cr0", NEEDS_L2, PDPTE_REGISTERS "; Architectural State Before a VM Exit (Vol. 3, 28.1)",
      "MOV to CR0 runs again after its EPT violation and loads the PDPTEs once their page is mapped")
{
    about_to_set_pg();
    faults_then_loads(pdpt);
}

CHECK(retry_cr3, "L2-09/mov-cr3", NEEDS_L2, PDPTE_REGISTERS "; Architectural State Before a VM Exit (Vol. 3, 28.1)",
      "MOV to CR3 runs again after its EPT violation and loads the PDPTEs once their page is mapped")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    faults_then_loads(other_pdpt);
}

CHECK(retry_cr4, "L2-09/mov-cr4", NEEDS_L2, PDPTE_REGISTERS "; Architectural State Before a VM Exit (Vol. 3, 28.1)",
      "MOV to CR4 that toggles PSE runs again after its EPT violation and loads the PDPTEs once their page is mapped")
{
    about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);
    faults_then_loads(pdpt);
}
