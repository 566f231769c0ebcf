/* L2-05 to L2-09: how it ends by what else the EPT entries on the way to that page hold, and what L1 is told of it. */
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
      "control: memory type 0 (UC) is not reserved")
{
    memory_type(0);
    run_must_load(pdpt);
}

#define RESERVED_MEMORY_TYPE(type)                                                                 \
    CHECK(memory_type_##type, "L2-05/memory-type-" #type, NEEDS_L2, EPT_MISCONFIGURATIONS,         \
          "the EPT entry of CR3's page has the reserved memory type " #type ": EPT misconfiguration") \
    {                                                                                              \
        memory_type(type);                                                                         \
        run_must_misconfigure();                                                                       \
    }
RESERVED_MEMORY_TYPE(2)
RESERVED_MEMORY_TYPE(3)
RESERVED_MEMORY_TYPE(7)

CHECK(ignored_bits, "L2-05/ignored-bits", NEEDS_L2, EPT_TRANSLATION,
      "control: bits 63:52 of the EPT entry of CR3's page are ignored")
{
    about_to_set_pg();
    edit_leaf(0, (u64)0xFFF << 52);
    run_must_load(pdpt);
}

CHECK(address_bits, "L2-05/address-bits", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "the EPT entry of CR3's page has an address bit that the CPU lacks, each in turn: EPT misconfiguration")
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
    put_table_behind_window();
    *ept_entry(WINDOW, level) = 0;
    ept_flush();
    run_must_violate(EPT_NOTHING);
}

CHECK(no_hole, "L2-06/mapped", NEEDS_L2, EPT_TRANSLATION,
      "control: CR3's page is mapped by an EPT PDPTE, a PDE and a PTE of its own")
{
    about_to_set_pg();
    put_table_behind_window();
    run_must_load(pdpt);
}

CHECK(hole_pte, "L2-06/pte", NEEDS_L2, EPT_TRANSLATION, "the EPT PTE of CR3's page is 0: EPT violation")
{
    hole_at(EPT_PTE);
}

CHECK(hole_pde, "L2-06/pde", NEEDS_L2, EPT_TRANSLATION, "the EPT PDE above CR3's page is 0: EPT violation")
{
    hole_at(EPT_PDE);
}

CHECK(hole_pdpte, "L2-06/pdpte", NEEDS_L2, EPT_TRANSLATION, "the EPT PDPTE above CR3's page is 0: EPT violation")
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
      "control: all but CR3's page is translated by the second EPT PML4E")
{
    if (physical_address_bits() < 40)
        skip("physical addresses of less than 40 bits: there is one EPT PML4E alone");
    use_second_pml4e();
    run_must_load(pdpt);
}

CHECK(hole_pml4e, "L2-06/pml4e", NEEDS_L2, EPT_TRANSLATION,
      "the EPT PML4E above CR3's page is 0: MOV to CR4 that toggles PSE causes an EPT violation")
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
      "control: the PDPTEs lie at FE0h of a page that EPT maps, and are loaded from there")
{
    about_to_set_pg();
    use_table(table_at_fe0());
    run_must_load(pdpt + 508);
}

CHECK(offset, "L2-07/offset-fe0", NEEDS_L2, EXIT_INFORMATION,
      "the PDPTEs lie at FE0h of a page that is absent from EPT: the guest-physical address has the offset")
{
    about_to_set_pg();
    use_table(table_at_fe0());
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(offset_cr3, "L2-07/offset-fe0-mov-cr3", NEEDS_L2, EXIT_INFORMATION,
      "the same with the PDPTEs that MOV to CR3 loads")
{
    about_to(l2_mov_cr3, address_of(other_pdpt + 508));
    ept_protect(other_pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(low_bits, "L2-07/low-bits", NEEDS_L2, PDPTE_REGISTERS "; " EXIT_INFORMATION,
      "bits 4:0 of CR3 are set and take no part in the address: the EPT violation is at CR3 & ~1Fh")
{
    about_to_set_pg();
    use_table((u64 *)(address_of(pdpt + 4) | 0x1F));
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(both_read_write, "L2-08/mapped", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "control: the EPT PDE and the PTE allow all but fetches, so MOV to CR0 succeeds")
{
    rights_by_level(EPT_READ | EPT_WRITE, EPT_READ | EPT_WRITE);
    run_must_load(pdpt);
}

CHECK(upper_execute_only, "L2-08/execute-above-all", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "the EPT PDE allows fetches alone, the PTE everything: bits 5:3 are 100b, bit 0 is 1, bits 7 and 8 are 0")
{
    need_execute_only();
    rights_by_level(EPT_EXECUTE, EPT_ALL);
    run_must_violate(EPT_EXECUTE);
}

CHECK(disjoint, "L2-08/execute-above-read-write", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "the EPT PDE allows fetches alone, the PTE all but fetches: bits 5:3 are the AND of both, 000b")
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
      "the EPT violation is a fault: once the page is mapped the same MOV to CR0 runs again and loads the PDPTEs")
{
    about_to_set_pg();
    faults_then_loads(pdpt);
}

CHECK(retry_cr3, "L2-09/mov-cr3", NEEDS_L2, PDPTE_REGISTERS "; Architectural State Before a VM Exit (Vol. 3, 28.1)",
      "the same with MOV to CR3")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    faults_then_loads(other_pdpt);
}

CHECK(retry_cr4, "L2-09/mov-cr4", NEEDS_L2, PDPTE_REGISTERS "; Architectural State Before a VM Exit (Vol. 3, 28.1)",
      "the same with MOV to CR4")
{
    about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);
    faults_then_loads(pdpt);
}
