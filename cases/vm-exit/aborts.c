/* VMX aborts: a VM exit that cannot save or load what it must ends the machine. Last: each takes a boot. */
#include "entry.h"
#include "l1_mode.h"
#include "state.h"

#define SDM_ABORTS "VMX Aborts (Vol. 3, 28.7)"
static struct pae_tables l1;
static u32 area[4] __attribute__((aligned(16)));

CHECK(pdptes, "E-18/abort", NEEDS_L2, SDM_ABORTS,
      "VM exit to an L1 in PAE paging is a VMX abort when a PDPTE of L1 has a reserved bit")
{
    pae_identity(&l1);
    entry_prepare();
    l1_in_pae_paging(address_of(l1.pdpt));
    l1.pdpt[3] |= 2;
    must_end_in(END_SHUTDOWN);
    entry_try();
}

static void must_abort(u32 address, u32 count)
{
    entry_prepare();
    area[0] = IA32_STAR;
    area[1] = 1; /* reserved */
    vmcs_write64(address, address_of(area));
    vmcs_write(count, 1);
    must_end_in(END_SHUTDOWN);
    entry_try();
}

CHECK(stored, "E-37/abort-store", NEEDS_L2, SDM_ABORTS,
      "VM exit is a VMX abort when an entry of the VM-exit MSR-store area has a reserved bit")
{
    must_abort(VM_EXIT_MSR_STORE_ADDRESS, VM_EXIT_MSR_STORE_COUNT);
}

CHECK(loaded, "E-37/abort-load", NEEDS_L2, SDM_ABORTS,
      "VM exit is a VMX abort when an entry of the VM-exit MSR-load area has a reserved bit")
{
    must_abort(VM_EXIT_MSR_LOAD_ADDRESS, VM_EXIT_MSR_LOAD_COUNT);
}
