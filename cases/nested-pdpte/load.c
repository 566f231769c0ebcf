/* L2-01 to L2-09: how the load of the PDPTEs ends, by what EPT says of the page that they lie in. */
#include "stage.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

CHECK(mapped, "L2-01/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "control: CR3's page is mapped by EPT, so MOV to CR0 turns PAE paging on")
{
    about_to_set_pg();
    must_load(pdpt);
}

CHECK(not_present, "L2-01/not-present", NEEDS_L2, PDPTE_REGISTERS "; " EPT_VIOLATIONS,
      "CR3's page is absent from EPT: MOV to CR0 that sets PG causes an EPT violation at CR3")
{
    about_to_set_pg();
    ept_protect(pdpt, 0);
    must_violate(0);
}

CHECK(read_only, "L2-02/read", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "CR3's page is readable alone (001b): the load is a read, MOV to CR0 succeeds")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ);
    must_load(pdpt);
}

CHECK(read_execute, "L2-02/read-execute", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "CR3's page is readable and executable (101b): the load is a read, MOV to CR0 succeeds")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_READ | EPT_EXECUTE);
    must_load(pdpt);
}

/* The PDE above the window and the PTE of CR3's page with these rights. */
static void rights_by_level(u32 directory, u32 leaf)
{
    about_to_set_pg();
    put_table_behind_window();
    u64 *entry = ept_entry(WINDOW, EPT_PDE);
    *entry = (*entry & ~(u64)EPT_ALL) | directory;
    ept_map(WINDOW, pdpt, leaf);
}

CHECK(read_only_above, "L2-02/read-above-all", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "the EPT PDE above CR3's page allows reads alone, the PTE everything: MOV to CR0 succeeds")
{
    rights_by_level(EPT_READ, EPT_ALL);
    must_load(pdpt);
}

CHECK(read_only_cr3, "L2-02/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "the new CR3's page is readable alone (001b): MOV to CR3 succeeds")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_READ);
    must_load(other_pdpt);
}

static bool execute_only(void)
{
    if (ept_capabilities() & EPT_CAPABILITY_EXECUTE_ONLY)
        return true;
    skip("no execute-only EPT entries");
    return false;
}

CHECK(execute_only_cr0, "L2-03/mov-cr0", NEEDS_L2, EPT_VIOLATIONS,
      "CR3's page is executable alone (100b): EPT violation, a read, bits 5:3 are 100b")
{
    if (!execute_only())
        return;
    about_to_set_pg();
    ept_protect(pdpt, EPT_EXECUTE);
    must_violate(EPT_EXECUTE);
}

CHECK(execute_only_cr3, "L2-03/mov-cr3", NEEDS_L2, EPT_VIOLATIONS,
      "the same with the page that MOV to CR3 loads from")
{
    if (!execute_only())
        return;
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_EXECUTE);
    must_violate(EPT_EXECUTE);
}

CHECK(write_only, "L2-04/write", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "CR3's page is writable alone (010b): EPT misconfiguration")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE);
    must_misconfigure();
}

CHECK(write_execute, "L2-04/write-execute", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "CR3's page is writable and executable (110b): EPT misconfiguration")
{
    about_to_set_pg();
    ept_protect(pdpt, EPT_WRITE | EPT_EXECUTE);
    must_misconfigure();
}

CHECK(write_only_cr3, "L2-04/mov-cr3", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "the new CR3's page is writable alone (010b): MOV to CR3 meets an EPT misconfiguration")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_WRITE);
    must_misconfigure();
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
    must_load(pdpt);
}

#define RESERVED_MEMORY_TYPE(type)                                                                 \
    CHECK(memory_type_##type, "L2-05/memory-type-" #type, NEEDS_L2, EPT_MISCONFIGURATIONS,         \
          "the EPT entry of CR3's page has the reserved memory type " #type ": EPT misconfiguration") \
    {                                                                                              \
        memory_type(type);                                                                         \
        must_misconfigure();                                                                       \
    }
RESERVED_MEMORY_TYPE(2)
RESERVED_MEMORY_TYPE(3)
RESERVED_MEMORY_TYPE(7)

CHECK(ignored_bits, "L2-05/ignored-bits", NEEDS_L2, EPT_TRANSLATION,
      "control: bits 63:52 of the EPT entry of CR3's page are ignored")
{
    about_to_set_pg();
    edit_leaf(0, (u64)0xFFF << 52);
    must_load(pdpt);
}

CHECK(address_bits, "L2-05/address-bits", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "the EPT entry of CR3's page has an address bit that the CPU lacks, each in turn: EPT misconfiguration")
{
    u64 misconfigured = 0, lacking = ((u64)1 << 52) - ((u64)1 << physical_address_bits());
    if (!lacking)
        return skip("no address bit is reserved");
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
    must_misconfigure(); /* the last one again, field by field */
}

static void hole_at(enum ept_level level)
{
    about_to_set_pg();
    put_table_behind_window();
    *ept_entry(WINDOW, level) = 0;
    ept_flush();
    must_violate(0);
}

CHECK(no_hole, "L2-06/mapped", NEEDS_L2, EPT_TRANSLATION,
      "control: CR3's page is mapped by an EPT PDPTE, a PDE and a PTE of its own")
{
    about_to_set_pg();
    put_table_behind_window();
    must_load(pdpt);
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

/* CR3 has 32 bits, so the first EPT PML4E translates it whatever it is. All else that L2 uses goes through the second one,
   which maps the same memory: its page tables and what they map lie there. Paging must be on for that. */
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
        return skip("physical addresses of less than 40 bits: there is one EPT PML4E alone");
    use_second_pml4e();
    must_load(pdpt);
}

CHECK(hole_pml4e, "L2-06/pml4e", NEEDS_L2, EPT_TRANSLATION,
      "the EPT PML4E above CR3's page is 0: MOV to CR4 that toggles PSE causes an EPT violation")
{
    if (physical_address_bits() < 40)
        return skip("physical addresses of less than 40 bits: there is one EPT PML4E alone");
    use_second_pml4e();
    *ept_entry(0, EPT_PML4E) = 0;
    ept_flush();
    must_violate(0);
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
    must_load(pdpt + 508);
}

CHECK(offset, "L2-07/offset-fe0", NEEDS_L2, EXIT_INFORMATION,
      "the PDPTEs lie at FE0h of a page that is absent from EPT: the guest-physical address has the offset")
{
    about_to_set_pg();
    use_table(table_at_fe0());
    ept_protect(pdpt, 0);
    must_violate(0);
}

CHECK(offset_cr3, "L2-07/offset-fe0-mov-cr3", NEEDS_L2, EXIT_INFORMATION,
      "the same with the PDPTEs that MOV to CR3 loads")
{
    about_to(l2_mov_cr3, address_of(other_pdpt + 508));
    ept_protect(other_pdpt, 0);
    must_violate(0);
}

CHECK(low_bits, "L2-07/low-bits", NEEDS_L2, PDPTE_REGISTERS "; " EXIT_INFORMATION,
      "bits 4:0 of CR3 are set and take no part in the address: the EPT violation is at CR3 & ~1Fh")
{
    about_to_set_pg();
    use_table((u64 *)(address_of(pdpt + 4) | 0x1F));
    ept_protect(pdpt, 0);
    must_violate(0);
}

CHECK(both_read_write, "L2-08/mapped", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "control: the EPT PDE and the PTE allow all but fetches, so MOV to CR0 succeeds")
{
    rights_by_level(EPT_READ | EPT_WRITE, EPT_READ | EPT_WRITE);
    must_load(pdpt);
}

CHECK(upper_execute_only, "L2-08/execute-above-all", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "the EPT PDE allows fetches alone, the PTE everything: bits 5:3 are 100b, bit 0 is 1, bits 7 and 8 are 0")
{
    if (!execute_only())
        return;
    rights_by_level(EPT_EXECUTE, EPT_ALL);
    must_violate(EPT_EXECUTE);
}

CHECK(disjoint, "L2-08/execute-above-read-write", NEEDS_L2, EXIT_QUALIFICATION_TABLE,
      "the EPT PDE allows fetches alone, the PTE all but fetches: bits 5:3 are the AND of both, 000b")
{
    if (!execute_only())
        return;
    rights_by_level(EPT_EXECUTE, EPT_READ | EPT_WRITE);
    must_violate(0);
}

/* The first exit is judged by L2-01 and the like in full; here it is what comes after it that counts. */
static void faults_then_loads(u64 *table)
{
    ept_protect(table, 0);
    struct vm_exit exit = l2_run();
    must("exit_reason_first", exit.reason, EXIT_EPT_VIOLATION);
    ept_protect(table, EPT_ALL);
    must_load(table);
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
