/* The four PDPTEs of a guest in PAE paging: with EPT from their fields, without EPT from memory. */
#include "l1_mode.h"
#include "l2_code.h"
#include "stage.h"

#define SDM_LOADING "Loading Page-Directory-Pointer-Table Entries (Vol. 3, 27.3.2.4)"
#define PDPTE_REFUSED ENTRY_FAILED(GUEST_STATE_INVALID, BAD_PDPTE)
enum { IN_FIELD = 0x1111, IN_MEMORY = 0x2222, WINDOW = 3, ENTRIES = 512 };

static struct pae_tables l1;

static void in_pae_paging(void)
{
    entry_prepare();
    l2_use_pae_paging();
    l2_turn_paging_on();
}

static void l1_goes_to_pae(void)
{
    pae_identity(&l1);
    l1_in_pae_paging(address_of(l1.pdpt));
}

/* A present PDPTE is refused for each reserved bit; one that is not present for none. */
static void must_refuse_fields(void)
{
    struct tally tally = { 0 };
    for (u32 index = 0; index < 4; index++) {
        u32 field = GUEST_PDPTE0 + index * FIELD_STEP;
        sweep_bits(&tally, field, pdpte_reserved(), PDPTE_REFUSED);
        if (index) /* L2's code lies in the first quarter */
            SWEEP_VALUES(&tally, field, ENTRY_RAN, 0, vmcs_read64(field) | BITS(3, 4) | BITS(9, 11));
    }
    must_tally(&tally);
}

CHECK(fields, "E-01/32-bit", NEEDS_L2, SDM_GUEST_PDPTES,
      "VM entry with EPT fails with qualification 2 for each reserved bit of each present PDPTE field")
{
    in_pae_paging();
    must_refuse_fields();
}

CHECK(fields_pae, "E-01/pae", NEEDS_L2, SDM_GUEST_PDPTES,
      "VM entry with EPT from PAE paging fails with qualification 2 for each reserved bit of each present PDPTE field")
{
    in_pae_paging();
    l1_goes_to_pae();
    must_refuse_fields();
}

CHECK(fields_64, "E-01/64-bit", NEEDS_L2, SDM_GUEST_PDPTES,
      "VM entry with EPT from 64-bit mode fails with qualification 2 for each reserved bit of each present PDPTE field")
{
    in_pae_paging();
    l1_in_64_bit_mode();
    must_refuse_fields();
}

CHECK(fields_unused, "E-01/control-other-paging", NEEDS_L2, SDM_GUEST_PDPTES,
      "Control: VM entry of a guest without PAE paging succeeds whatever the PDPTE fields are")
{
    entry_prepare();
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    for (u32 index = 0; index < 4; index++)
        vmcs_write64(GUEST_PDPTE0 + index * FIELD_STEP, ~(u64)0);
    must_enter();
}

/* Without EPT the PDPTEs lie in memory. */
static void must_refuse_memory(void)
{
    struct tally tally = { 0 };
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    for (u32 index = 0; index < 4; index++) {
        u64 *entry = &l2_tables.pae.pdpt[index], sound = *entry;
        tally_turn(&tally, index, entry_try(), ENTRY_RAN);
        for (u64 bit = 1; bit; bit <<= 1)
            if (pdpte_reserved() & bit) {
                *entry = sound | bit;
                tally_turn(&tally, *entry, entry_try(), PDPTE_REFUSED);
            }
        *entry = sound;
    }
    must_tally(&tally);
}

CHECK(memory, "E-02/32-bit", NEEDS_L2, SDM_GUEST_PDPTES,
      "VM entry without EPT fails with qualification 2 for each reserved bit of each present PDPTE in memory")
{
    in_pae_paging();
    must_refuse_memory();
}

CHECK(memory_pae, "E-02/pae", NEEDS_L2, SDM_GUEST_PDPTES,
      "VM entry without EPT from PAE paging fails with qualification 2 for each reserved bit of each PDPTE in memory")
{
    in_pae_paging();
    l1_goes_to_pae();
    must_refuse_memory();
}

/* What L2 reads at the beginning of the last quarter of its addresses, which one of two directories maps. */
L2_CODE(look, "movl 0xC0000000, %eax");

static u64 directories[2][ENTRIES] PAGE_ALIGNED, table[2][ENTRIES] PAGE_ALIGNED;
static u32 pages[2][PAGE_SIZE / 4] PAGE_ALIGNED;

static u64 pdpte_showing(u32 value)
{
    u32 kind = value == IN_MEMORY;
    pages[kind][0] = value;
    table[kind][0] = address_of(pages[kind]) | PTE_WRITABLE | PTE_PRESENT;
    directories[kind][0] = address_of(table[kind]) | PTE_WRITABLE | PTE_PRESENT;
    return address_of(directories[kind]) | PTE_PRESENT;
}

static void stage_both(void)
{
    in_pae_paging();
    l2_tables.pae.pdpt[WINDOW] = pdpte_showing(IN_MEMORY);
    vmcs_write64(GUEST_PDPTE3, pdpte_showing(IN_FIELD));
}

CHECK(use_fields, "E-03/with-ept", NEEDS_L2, SDM_LOADING,
      "VM entry with EPT loads the PDPTEs from their fields, and again when L2 is resumed")
{
    stage_both();
    struct vm_exit first = l2_try(&look), second = l2_try(&look);
    must("read", first.registers.eax, IN_FIELD);
    must("read_when_resumed", second.registers.eax, IN_FIELD);
    must_execute(&second, &look);
}

CHECK(use_fields_pae, "E-03/with-ept-pae", NEEDS_L2, SDM_LOADING,
      "VM entry with EPT from PAE paging loads the PDPTEs from their fields, and again when L2 is resumed")
{
    stage_both();
    l1_goes_to_pae();
    struct vm_exit first = l2_try(&look), second = l2_try(&look);
    must("read", first.registers.eax, IN_FIELD);
    must("read_when_resumed", second.registers.eax, IN_FIELD);
    must_execute(&second, &look);
}

CHECK(use_memory, "E-03/without-ept", NEEDS_L2, SDM_LOADING,
      "VM entry without EPT loads the PDPTEs from memory, and again when L2 is resumed")
{
    stage_both();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    struct vm_exit first = l2_try(&look);
    l2_tables.pae.pdpt[WINDOW] = pdpte_showing(IN_FIELD);
    struct vm_exit second = l2_try(&look);
    must("read", first.registers.eax, IN_MEMORY);
    must("read_when_resumed", second.registers.eax, IN_FIELD);
    must_execute(&second, &look);
}
