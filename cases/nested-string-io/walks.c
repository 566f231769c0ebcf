/* F-04: a walk whose accessed and dirty flags are set needs no write, so that EPT may write-protect the page table. */
#include "l2_modes.h"
#include "paged.h"

L2_CODE(insb, "insb");
L2_CODE(outsb, "outsb");
L2_CODE(store, "movb %al, (%edi)");
L2_CODE(load, "movb (%esi), %al");

u32 its_table[1024] PAGE_ALIGNED;

void paged_string_io(const struct l2_code *code, u16 port)
{
    enum { USED = PTE_DIRTY | PTE_ACCESSED | PTE_WRITABLE | PTE_PRESENT };
    string_io(code, (const void *)PAGED, port);
    l2_use_32_bit_paging();
    its_table[0] = address_of(target) | USED;
    its_table[1] = address_of(pages[2]) | USED;
    l2_tables.directory[PAGED >> 22] = address_of(its_table) | USED;
    l2_turn_paging_on();
}

static void must_need_no_write(const struct l2_code *code, u16 port)
{
    paged_string_io(code, port);
    ept_protect(its_table, EPT_READ | EPT_EXECUTE);
    keyboard_ask();
    struct vm_exit exit = l2_try(code);
    must_execute(&exit, code);
}

CHECK(store_marked, "F-04/MOV-store", NEEDS_L2, EPT_VIOLATIONS,
      "Control: MOV writes a page whose page table is read-only in EPT, as the PTE's A and D flags are set")
{
    must_need_no_write(&store, KEYBOARD_DATA);
}

CHECK(load_marked, "F-04/MOV-load", NEEDS_L2, EPT_VIOLATIONS,
      "Control: MOV reads a page whose page table is read-only in EPT, as the PTE's A flag is set")
{
    must_need_no_write(&load, KEYBOARD_DATA);
}

CHECK(insb_marked, "F-04/INSB", NEEDS_L2, EPT_VIOLATIONS,
      "INSB in L2 executes through a page table that is read-only in EPT when the PTE's A and D flags are set")
{
    must_need_no_write(&insb, KEYBOARD_DATA);
}

CHECK(outsb_marked, "F-04/OUTSB", NEEDS_L2, EPT_VIOLATIONS,
      "OUTSB in L2 executes through a page table that is read-only in EPT when the PTE's A flag is set")
{
    must_need_no_write(&outsb, POST_PORT);
}

CHECK(table_writable, "F-04/INSB-table-writable", NEEDS_L2, INS,
      "Control: INSB in L2 executes through a page table that EPT maps for reads and writes")
{
    paged_string_io(&insb, KEYBOARD_DATA);
    u8 expected = keyboard_answer();
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb);
    must_have_stored(target, &expected, 1);
    must_execute(&exit, &insb);
}

/* KVM walks for these: the guest's own page tables decide. */
static void must_page_fault(u32 entry, u32 error_code)
{
    paged_string_io(&insb, KEYBOARD_DATA);
    its_table[0] = entry;
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb);
    must("keyboard_full", keyboard_full(), true);
    must("cr2", exit.exception_cr2, PAGED);
    must("edi_step", exit.registers.edi - PAGED, 0);
    must_take_exception(&exit, &insb, VECTOR_PF, error_code);
}

CHECK(not_present, "F-04/INSB-not-present", NEEDS_L2, "Page-Fault Exceptions (Vol. 3, 4.7)",
      "INSB in L2 to a page that its PTE does not have causes #PF of a write, with the port unread")
{
    must_page_fault(0, PF_WRITE);
}

CHECK(write_protected, "F-04/INSB-write-protected", NEEDS_L2, "Access Rights (Vol. 3, 4.6)",
      "INSB in L2 with CR0.WP=1 to a page that its PTE write-protects causes #PF, with the port unread")
{
    must_page_fault(address_of(target) | PTE_ACCESSED | PTE_PRESENT, PF_WRITE | PF_PRESENT);
}

CHECK(flags_set, "F-04/INSB-sets-flags", NEEDS_L2, "Accessed and Dirty Flags (Vol. 3, 4.8)",
      "INSB in L2 sets the accessed and dirty flags of the PTE that it writes through")
{
    paged_string_io(&insb, KEYBOARD_DATA);
    its_table[0] &= ~(PTE_DIRTY | PTE_ACCESSED);
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb);
    must("pte_flags", its_table[0] & (PTE_DIRTY | PTE_ACCESSED), PTE_DIRTY | PTE_ACCESSED);
    must_execute(&exit, &insb);
}

CHECK(flags_read, "F-04/OUTSB-sets-flags", NEEDS_L2, "Accessed and Dirty Flags (Vol. 3, 4.8)",
      "OUTSB in L2 sets the accessed flag alone of the PTE that it reads through")
{
    paged_string_io(&outsb, POST_PORT);
    its_table[0] &= ~(PTE_DIRTY | PTE_ACCESSED);
    struct vm_exit exit = l2_try(&outsb);
    must("pte_flags", its_table[0] & (PTE_DIRTY | PTE_ACCESSED), PTE_ACCESSED);
    must_execute(&exit, &outsb);
}
