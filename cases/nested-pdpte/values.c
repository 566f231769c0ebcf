/* L2-21 and L2-22: what the PDPTEs hold, read through EPT. */
#include "stage.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

CHECK(ignored_bits, "L2-21/ignored-bits", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 loads PDPTEs with PWT, PCD and bits 11:9 set")
{
    about_to_set_pg();
    for (u32 index = 0; index < 4; index++)
        pdpt[index] |= 0xE18;
    run_must_load(pdpt);
}

/* Each reserved bit alone; L2's own handler of #GP reports whether the MOV faulted. */
static void must_fault_on_each(u32 index, u64 reserved)
{
    u64 sound = pdpt[index], faulting = 0;
    for (u32 bit = 0; bit < 64; bit++) {
        if (!(reserved >> bit & 1))
            continue;
        pdpt[index] = sound | (u64)1 << bit;
        struct vm_exit exit = l2_run();
        if (exit.exception && exit.vector == GENERAL_PROTECTION && !exit.error_code &&
            exit.exception_rip == address_of(l2_mov_cr0) && exit.cr0 == L2_CR0)
            faulting |= (u64)1 << bit;
        about_to_again();
    }
    noted("reserved_bits", reserved);
    must("reserved_bits_not_faulting", reserved & ~faulting, 0);
}

#define RESERVED_BITS(index)                                                                                           \
    CHECK(reserved_bits_##index, "L2-21/pdpte" #index, NEEDS_L2, PDPTE_REGISTERS,                                      \
          "MOV to CR0 causes #GP(0) in L2 and no VM exit for each reserved bit in PDPTE" #index)                       \
    {                                                                                                                  \
        about_to_set_pg();                                                                                             \
        must_fault_on_each(index, pdpte_reserved());                                                                   \
    }
RESERVED_BITS(0)
RESERVED_BITS(1)
RESERVED_BITS(2)
RESERVED_BITS(3)

/* EPT maps the page at `address` to the page of `sound`; what lies at `address` itself would be #GP. */
static void translate(u64 *address, const u64 *sound)
{
    for (u32 index = 0; index < 4; index++)
        address[index] |= 2;
    ept_map(address_of(address), sound, EPT_ALL);
}

CHECK(translated_cr0, "L2-22/mov-cr0", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR0 loads the PDPTEs from the page to which EPT maps CR3's page")
{
    about_to(l2_mov_cr0, 0); /* for `other_pdpt` */
    about_to_set_pg();
    translate(pdpt, other_pdpt);
    run_must_load(other_pdpt);
}

CHECK(translated_cr3, "L2-22/mov-cr3", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR3 loads the PDPTEs from the page to which EPT maps the new CR3's page")
{
    static u64 third_pdpt[512] PAGE_ALIGNED;
    about_to(l2_mov_cr3, address_of(third_pdpt));
    translate(third_pdpt, other_pdpt);
    run_must_load(other_pdpt);
}

CHECK(translated_cr4, "L2-22/mov-cr4", NEEDS_L2, EPT_TRANSLATION,
      "MOV to CR4 that toggles PSE loads the PDPTEs from the page to which EPT maps CR3's page")
{
    about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);
    translate(pdpt, other_pdpt);
    run_must_load(other_pdpt);
}
