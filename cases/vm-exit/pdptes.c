/* The PDPTEs of L2, which exits save, and those of an L1 in PAE paging, which exits load from memory. */
#include "entry.h"
#include "l1_mode.h"
#include "state.h"

#define SDM_HOST_PDPTES "Checking and Loading Host Page-Directory-Pointer-Table Entries (Vol. 3, 28.5.4)"
enum { FIRST = 0xAAAA, SECOND = 0xBBBB, QUARTER = 3, LAST_QUARTER = 0xC0000000 };
L2_CODE(pass, "nop");
L2_CODE(paging_on, "movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0");
L2_CODE(new_table, "movl %eax, %cr3");

static struct pae_tables l1, other;
static u64 directories[2][512] PAGE_ALIGNED, tables[2][512] PAGE_ALIGNED;
static u32 pages[2][PAGE_SIZE / 4] PAGE_ALIGNED;

static u64 pdpte_showing(u32 value)
{
    u32 kind = value == SECOND;
    pages[kind][0] = value;
    tables[kind][0] = address_of(pages[kind]) | PTE_WRITABLE | PTE_PRESENT;
    directories[kind][0] = address_of(tables[kind]) | PTE_WRITABLE | PTE_PRESENT;
    return address_of(directories[kind]) | PTE_PRESENT;
}

static u32 look(void)
{
    return *(volatile u32 *)LAST_QUARTER;
}

static void l1_goes_to_pae(void)
{
    pae_identity(&l1);
    l1.pdpt[QUARTER] = pdpte_showing(FIRST);
    l1_in_pae_paging(address_of(l1.pdpt));
}

/* L1 translates with FIRST; memory gets SECOND, and after the exit L1 must translate with that. */
static void must_load_host_pdptes(void)
{
    u32 before = look();
    l1.pdpt[QUARTER] = pdpte_showing(SECOND);
    u32 kept = look();
    struct vm_exit exit = l2_try(&pass);
    u32 after = look();
    l1.pdpt[QUARTER] = pdpte_showing(FIRST);
    exit = l2_try(&pass);
    u32 after_second = look();
    must("before", before, FIRST);
    must("without_exit", kept, FIRST);
    must("after_exit", after, SECOND);
    must("after_second_exit", after_second, FIRST);
    must("l1_cr3", read_cr3(), address_of(l1.pdpt));
    must_execute(&exit, &pass);
}

CHECK(from_unpaged, "E-18/control-unpaged", NEEDS_L2, SDM_HOST_PDPTES,
      "Control: VM exit from an L2 without paging loads the PDPTEs of an L1 in PAE paging from memory")
{
    l2_prepare(pass.start);
    l1_goes_to_pae();
    must_load_host_pdptes();
}

CHECK(from_pae, "E-18/control-pae", NEEDS_L2, SDM_HOST_PDPTES,
      "Control: VM exit from an L2 in PAE paging loads the PDPTEs of an L1 in PAE paging from memory")
{
    l2_prepare(pass.start);
    l2_use_pae_paging();
    l2_turn_paging_on();
    l1_goes_to_pae();
    must_load_host_pdptes();
}

CHECK(from_pae_no_ept, "E-18/control-without-ept", NEEDS_L2, SDM_HOST_PDPTES,
      "Control: VM exit from an L2 in PAE paging without EPT loads the PDPTEs of an L1 in PAE paging from memory")
{
    l2_prepare(pass.start);
    l2_use_pae_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    l1_goes_to_pae();
    must_load_host_pdptes();
}

CHECK(from_same, "E-18/control-same-cr3", NEEDS_L2, SDM_HOST_PDPTES,
      "Control: VM exit from an L2 with the CR3 of an L1 in PAE paging loads L1's PDPTEs from memory")
{
    l2_prepare(pass.start);
    l2_use_pae_paging();
    l1_goes_to_pae();
    vmcs_write(GUEST_CR3, address_of(l1.pdpt));
    l2_turn_paging_on();
    must_load_host_pdptes();
}

CHECK(failed, "E-18/control-failed-entry", NEEDS_L2, SDM_HOST_PDPTES,
      "Control: VM entry that fails for guest state loads the PDPTEs of an L1 in PAE paging from memory")
{
    l2_prepare(pass.start);
    l1_goes_to_pae();
    vmcs_write(GUEST_RFLAGS, 0);
    u32 before = look();
    l1.pdpt[QUARTER] = pdpte_showing(SECOND);
    must("outcome", entry_try(), ENTRY_FAILED(GUEST_STATE_INVALID, 0));
    must("after", look(), SECOND);
    must("before", before, FIRST);
}

/* L2 loads PDPTEs, and the next exit saves them. */
static void must_save_pdptes(void (*l1_mode)(void))
{
    l2_prepare(paging_on.start);
    l2_use_pae_paging();
    for (u32 index = 0; index < 4; index++)
        vmcs_write64(GUEST_PDPTE0 + index * FIELD_STEP, 0);
    if (l1_mode)
        l1_mode();
    struct vm_exit exit = l2_try(&paging_on);
    must_hold_pdptes(&exit, l2_tables.pae.pdpt);
    must_execute(&exit, &paging_on);
}

CHECK(saved, "E-04/mov-cr0", NEEDS_L2, SDM_SAVING_OTHER,
      "VM exit stores the PDPTEs that MOV to CR0 has loaded in L2 by setting PG with PAE")
{
    must_save_pdptes(NULL);
}

CHECK(saved_pae, "E-04/mov-cr0-pae", NEEDS_L2, SDM_SAVING_OTHER,
      "VM exit to an L1 in PAE paging stores the PDPTEs that MOV to CR0 has loaded in L2 by setting PG with PAE")
{
    must_save_pdptes(l1_goes_to_pae);
}

CHECK(saved_cr3, "E-04/mov-cr3", NEEDS_L2, SDM_SAVING_OTHER,
      "VM exit stores the PDPTEs that MOV to CR3 has loaded in L2")
{
    l2_prepare(new_table.start);
    l2_use_pae_paging();
    l2_turn_paging_on();
    pae_identity(&other);
    other.pdpt[QUARTER] = pdpte_showing(SECOND);
    l2_registers.eax = address_of(other.pdpt);
    struct vm_exit exit = l2_try(&new_table);
    must_hold_pdptes(&exit, other.pdpt);
    must("cr3", exit.cr3, address_of(other.pdpt));
    must_execute(&exit, &new_table);
}
