/* W-29: L2 without EPT. Its paging structures lie in L1's memory, and L1 may do as a hypervisor with shadow page tables
   does: intercept page faults, change entries, and let L2 go on. */
#include "stage.h"

#include "l1_mode.h"
#include "vectors.h"

#define WITHOUT_EPT "VM-Execution Controls: Enable EPT (Vol. 3, 25.6.2)"
static const enum paging pagings[] = { PAGING_32_BIT, PAGING_PAE };

static void window_without_ept(enum paging paging)
{
    l2_prepare(NULL);
    l2_window_use(paging);
    l2_without_ept();
    vmcs_write(EXCEPTION_BITMAP, 1 << VECTOR_PF | 1 << VECTOR_GP);
}

/* A mask and a match choose which page faults exit; the others are L2's own. */
CHECK(mask_and_match, "W-29/error-code-mask", NEEDS_L2, "Exception Bitmap (Vol. 3, 25.6.3)",
      "A page fault of L2 without EPT exits by the page-fault error-code mask and match, and the others go to L2's "
      "handler")
{
    struct tally tally = { 0 };
    window_without_ept(PAGING_PAE);
    l2_window_set(LEVEL_PTE, 0);
    for (u32 bitmap = 0; bitmap < 2; bitmap++)
        for (u32 match = 0; match < 4; match++) {
            vmcs_write(EXCEPTION_BITMAP, bitmap << VECTOR_PF);
            vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, PF_PRESENT | PF_WRITE);
            vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, match);
            for (enum l2_access access = L2_READ; access < L2_FETCH; access++) {
                u32 error_code = access == L2_WRITE ? PF_WRITE : 0;
                bool exits = (error_code == match) == (bitmap == 1);
                struct vm_exit exit = l2_window_access(access);
                tally_turn(&tally, turn_of(bitmap << 4 | match, access), exit.reason,
                           exits ? EXIT_EXCEPTION_OR_NMI : EXIT_VMCALL);
                tally_turn(&tally, turn_of(0x20 | bitmap << 4 | match, access),
                           exit.exception ? (u64)exit.vector << 32 | exit.error_code : 0,
                           (u64)VECTOR_PF << 32 | error_code);
            }
        }
    must_tally(&tally);
}

/* Memory holds other PDPTEs than the fields. */
CHECK(from_memory, "W-29/pdptes-from-memory", NEEDS_L2,
      "Loading Page-Directory-Pointer-Table Entries (Vol. 3, 27.3.2.4)",
      "VM entry to L2 with PAE paging and without EPT loads the PDPTEs from memory, not from the fields")
{
    window_without_ept(PAGING_PAE);
    vmcs_write64(GUEST_PDPTE0 + FIELD_STEP, 0);
    access_must(L2_READ, ept_passes());
    l2_tables.pae.pdpt[1] = 0;
    struct vm_exit exit = l2_window_access(L2_READ);
    must("second_vector", exit.exception ? exit.vector : ~0u, VECTOR_PF);
}

L2_CODE(loads_cr3, "movl %eax, %cr3; movl (%ebx), %edi");
static u64 other_pdpt[512] PAGE_ALIGNED;

/* The second PDPTE of the new table is 0, or as in the old one, with these bits set besides. */
static struct vm_exit load_cr3(bool present, u64 bits)
{
    window_without_ept(PAGING_PAE);
    for (u32 index = 0; index < 4; index++)
        other_pdpt[index] = index != 1 ? l2_tables.pae.pdpt[index] : present ? l2_tables.pae.pdpt[1] | bits : 0;
    l2_registers.eax = address_of(other_pdpt);
    l2_registers.ebx = (u32)l2_window_linear(L2_READ);
    return l2_try(&loads_cr3);
}

CHECK(cr3_loads, "W-29/mov-cr3", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "MOV to CR3 in L2 without EPT loads the PDPTEs, and L2 faults where the new one is not present")
{
    struct vm_exit exit = load_cr3(false, 0);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("vector", exit.vector, VECTOR_PF);
    must("cr3", exit.cr3, address_of(other_pdpt));
    exit = load_cr3(true, 0);
    must("mapped_exit_reason", exit.reason, EXIT_VMCALL);
}

CHECK(cr3_faults, "W-29/mov-cr3-reserved", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "MOV to CR3 in L2 without EPT causes #GP(0) for a reserved bit in a PDPTE, and CR3 stays")
{
    struct tally tally = { 0 };
    for (u32 bit = 0; bit < 64; bit++) {
        if (!(pdpte_reserved() >> bit & 1) || (bit > 8 && bit % 4))
            continue;
        struct vm_exit exit = load_cr3(true, (u64)1 << bit);
        tally_turn(&tally, bit, exit.exception ? (u64)exit.vector << 32 | exit.cr3 : exit.reason,
                   (u64)VECTOR_GP << 32 | address_of(l2_tables.pae.pdpt));
    }
    must_tally(&tally);
}

L2_CODE(flushes_page, "invlpg (%ebx)");

CHECK(invlpg_exits, "W-29/invlpg", NEEDS_L2, "Instructions That Cause VM Exits Conditionally (Vol. 3, 26.1.3)",
      "INVLPG in L2 without EPT exits with INVLPG exiting, and reports the linear address")
{
    window_without_ept(PAGING_32_BIT);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, INVLPG_EXITING, "no INVLPG exiting");
    l2_registers.ebx = (u32)l2_window_linear(L2_READ);
    struct vm_exit exit = l2_try(&flushes_page);
    must("exit_reason", exit.reason, EXIT_INVLPG);
    must("exit_qualification", exit.qualification, l2_window_linear(L2_READ));
    saw_exit(&exit, flushes_page.start);
}

/* L2 uses its translation, changes its own PTE to another page, and flushes it. */
static u32 second_page[PAGE_SIZE / sizeof(u32)] PAGE_ALIGNED;
L2_CODE(remaps, "movl (%ebx), %edx; movl %eax, (%esi); invlpg (%ebx); movl (%ebx), %edi");

CHECK(invlpg_flushes, "W-29/remap", NEEDS_L2,
      "Operations that Invalidate TLBs and Paging-Structure Caches (Vol. 3, 4.10.4.1)",
      "L2 without EPT that changes its own PTE reads the new page after INVLPG, in 32-bit and in PAE paging")
{
    static const u32 first = 0xF125, second = 0x5EC0;
    for (u32 mode = 0; mode < ARRAY_SIZE(pagings); mode++) {
        window_without_ept(pagings[mode]);
        u32 word = (u32)(l2_window_linear(L2_READ) % PAGE_SIZE / sizeof(u32));
        ((u32 *)l2_window_page)[word] = first;
        second_page[word] = second;
        l2_registers.eax = address_of(second_page) | PTE_WRITABLE | PTE_PRESENT;
        l2_registers.ebx = (u32)l2_window_linear(L2_READ);
        l2_registers.esi = (u32)l2_window_slot(LEVEL_PTE);
        struct vm_exit exit = l2_try(&remaps);
        must("edx", exit.registers.edx, first);
        must("edi", exit.registers.edi, second);
    }
}
