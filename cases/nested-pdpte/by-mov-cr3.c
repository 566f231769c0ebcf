/* L2-05, L2-06 and L2-08 by MOV to CR3. A hypervisor below L1 may load the PDPTEs itself for MOV to CR0 and CR4, and
   leave MOV to CR3 to the CPU: what it makes of the CPU's EPT violation shows here. */
#include "stage.h"

static void about_to_load_from_window(void)
{
    about_to(l2_mov_cr3, WINDOW);
    ept_map(WINDOW, other_pdpt, EPT_ALL);
}

static void edit(enum ept_level level, u64 clear, u64 set)
{
    u64 *entry = ept_entry(WINDOW, level);
    *entry = (*entry & ~clear) | set;
    ept_flush();
}

CHECK(cr3_mapped, "L2-06/mov-cr3-mapped", NEEDS_L2, EPT_TRANSLATION,
      "Control: MOV to CR3 loads the PDPTEs from a page that an EPT PDPTE, PDE and PTE of its own map")
{
    about_to_load_from_window();
    run_must_load(other_pdpt);
}

#define HOLE(ident, level, id, words)                                                             \
    CHECK(hole_##ident, "L2-06/mov-cr3-" id, NEEDS_L2, EPT_TRANSLATION,                           \
          "MOV to CR3 causes an EPT violation when the EPT " words " of the new CR3's page is 0") \
    {                                                                                             \
        about_to_load_from_window();                                                              \
        edit(level, ~(u64)0, 0);                                                                  \
        run_must_violate(EPT_NOTHING);                                                            \
    }
HOLE(pte, EPT_PTE, "pte", "PTE")
HOLE(pde, EPT_PDE, "pde", "PDE")
HOLE(pdpte, EPT_PDPTE, "pdpte", "PDPTE")

#define MEMORY_TYPE(type)                                                                                         \
    CHECK(type_##type, "L2-05/mov-cr3-memory-type-" #type, NEEDS_L2, EPT_MISCONFIGURATIONS,                       \
          "MOV to CR3 causes an EPT misconfiguration when the new CR3's page has the reserved memory type " #type \
          " in EPT")                                                                                              \
    {                                                                                                             \
        about_to_load_from_window();                                                                              \
        edit(EPT_PTE, EPT_MEMORY_TYPE(7), EPT_MEMORY_TYPE(type));                                                 \
        run_must_misconfigure();                                                                                  \
    }
MEMORY_TYPE(2)
MEMORY_TYPE(3)
MEMORY_TYPE(7)

CHECK(address_bit, "L2-05/mov-cr3-address-bit", NEEDS_L2, EPT_MISCONFIGURATIONS,
      "MOV to CR3 causes an EPT misconfiguration when the EPT PDE of the new CR3's page has an address bit that the "
      "CPU lacks")
{
    if (physical_address_bits() >= 52)
        skip("no address bit is reserved");
    about_to_load_from_window();
    edit(EPT_PDE, 0, (u64)1 << physical_address_bits());
    run_must_misconfigure();
}

CHECK(execute_above, "L2-08/mov-cr3-execute-above-all", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "MOV to CR3 causes an EPT violation that reports what the EPT PDE and PTE both allow")
{
    need_execute_only();
    about_to_load_from_window();
    edit(EPT_PDE, EPT_ALL, EPT_EXECUTE);
    run_must_violate(EPT_EXECUTE);
}

CHECK(read_above, "L2-02/mov-cr3-above-all", NEEDS_L2, EPT_VIOLATIONS "; " EPT_FLAGS,
      "MOV to CR3 loads the PDPTEs when the EPT PDE above their page allows reads alone")
{
    about_to_load_from_window();
    edit(EPT_PDE, EPT_ALL, EPT_READ);
    run_must_load(other_pdpt);
}
