#include "l2_modes.h"

#include "cpu.h"
#include "l1_mode.h"
#include "outcome.h"
#include "selectors.h"
#include "vmx.h"

enum { FLAT_CODE_64 = 0xA09B }; /* access rights: L=1, D=0 */

struct l2_tables l2_tables PAGE_ALIGNED;

void l2_use_32_bit_paging(void)
{
    identity_32_bit(l2_tables.directory);
    vmcs_write(GUEST_CR3, address_of(l2_tables.directory));
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PSE);
}

void l2_use_pae_paging(void)
{
    pae_identity(&l2_tables.pae);
    vmcs_write(GUEST_CR3, address_of(l2_tables.pae.pdpt));
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PAE);
}

void l2_use_4_level_paging(void)
{
    l1_in_64_bit_mode();
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_IA32_EFER, "no save of IA32_EFER by VM exit");
    l2_use_pae_paging();
    for (u32 entry = 0; entry < ARRAY_SIZE(l2_tables.pdpt); entry++) {
        u64 directory = l2_tables.pae.pdpt[entry];
        l2_tables.pdpt[entry] = directory ? directory | PTE_WRITABLE : 0;
        l2_tables.pml4[entry] = entry ? 0 : address_of(l2_tables.pdpt) | PTE_WRITABLE | PTE_PRESENT;
    }
    vmcs_write(GUEST_CR3, address_of(l2_tables.pml4));
    vmcs_write64(GUEST_IA32_EFER, EFER_LME);
    vmcs_write(EXCEPTION_BITMAP, 0xFFFFFFFF); /* the gates of L2's IDT are 32-bit ones */
}

void l2_turn_paging_on(void)
{
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    if (!(vmcs_read(GUEST_CR4) & CR4_PAE))
        return;
    const u64 *pdptes = (const u64 *)(vmcs_read(GUEST_CR3) & ~31u);
    for (u32 index = 0; index < 4; index++)
        vmcs_write64(GUEST_PDPTE0 + index * FIELD_STEP, pdptes[index]);
}

void l2_start_in_64_bit_mode(void)
{
    vmcs_set_controls(VM_ENTRY_CONTROLS, IA32E_MODE_GUEST, "no IA-32e mode for guests");
    vmcs_write64(GUEST_IA32_EFER, EFER_LME | EFER_LMA);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    vmcs_write(GUEST_CS_SELECTOR, SELECTOR_CODE_64);
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, FLAT_CODE_64);
}

void l2_without_ept(void)
{
    if (!(vmcs_read(GUEST_CR0) & CR0_PG))
        misused("l2_without_ept of an L2 without paging");
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT is fixed to 1");
}
