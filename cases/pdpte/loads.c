/* What loads the PDPTE registers (SDM, "PDPTE Registers"). */
#include "check.h"
#include "stage.h"
#include "toggle.h"

#define LOADS "PDPTE Registers (Vol. 3, 4.4.1)"

CHECK(memory_alone, "P-07/memory-alone", NEEDS_PDPTE_REGISTERS, LOADS,
      "A change of a PDPTE in memory alone does not change the translation")
{
    stage_set();
    mode_enter(pae());
    tables.pdpt[WINDOW] = other_pdpte();
    must("window", through_window(), HERE);
    mode_leave();
}

CHECK(mov_cr3_again, "P-07/mov-cr3", NEEDS_PAE, LOADS,
      "MOV to CR3 of the value that it has loads a PDPTE that was changed in memory")
{
    stage_set();
    mode_enter(pae());
    must("window_before", through_window(), HERE);
    tables.pdpt[WINDOW] = other_pdpte();
    must_not_fault(trap_in(mov_to_cr3, pae().cr3));
    must("window", through_window(), OTHER);
    mode_leave();
}

CHECK(cd, "P-08/cd", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR0 that toggles CD loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    must_load((struct toggle){ .cr0 = CR0_CD });
}

CHECK(nw, "P-08/nw", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR0 that toggles NW loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    must_load((struct toggle){ .cr0 = CR0_NW, .with_cr0 = CR0_CD });
}

CHECK(pge, "P-12/pge", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR4 that toggles PGE loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    must_load((struct toggle){ .cr4 = CR4_PGE });
}

CHECK(pge_beside, "P-12/pge-beside-mce", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR4 that toggles PGE and MCE loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    need(FEATURE_MCE);
    must_load((struct toggle){ .cr4 = CR4_PGE | CR4_MCE });
}

CHECK(pse, "P-12/pse", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR4 that toggles PSE loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    must_load((struct toggle){ .cr4 = CR4_PSE });
}

CHECK(smep, "P-12/smep", NEEDS_PDPTE_REGISTERS, LOADS,
      "MOV to CR4 that toggles SMEP loads the PDPTEs and causes #GP(0) when one has a reserved bit")
{
    need(FEATURE_SMEP);
    must_load((struct toggle){ .cr4 = CR4_SMEP });
}
