/* Translations that VM entry and VM exit must not keep: those of VPID 0, which L1 and an L2 without VPID both use. */
#include "state.h"

#define SDM_INVALIDATE "Operations That Invalidate Cached Mappings (Vol. 3, 29.4.3.1)"
enum { FIRST = 0x1A1A, SECOND = 0x2B2B, WINDOW = 0x80000000, LARGE = 1 << 22 };
L2_CODE(look, "movl 0x80000000, %eax");
L2_CODE(pass, "nop");

static u32 pages[2][PAGE_SIZE / 4] PAGE_ALIGNED, table[1024] PAGE_ALIGNED;

static void show(u32 *page)
{
    table[0] = address_of(page) | PTE_WRITABLE | PTE_PRESENT;
}

static void prepare(u32 *directory)
{
    pages[0][0] = FIRST;
    pages[1][0] = SECOND;
    show(pages[0]);
    directory[WINDOW / LARGE] = address_of(table) | PTE_WRITABLE | PTE_PRESENT;
}

static u32 look_through_window(void)
{
    return *(volatile u32 *)WINDOW;
}

static void must_flush_l1(void)
{
    u32 *directory = (u32 *)read_cr3(), entry = directory[WINDOW / LARGE];
    prepare(directory);
    write_cr3(read_cr3());
    u32 before = look_through_window();
    show(pages[1]);
    struct vm_exit exit = l2_try(&pass);
    u32 after = look_through_window();
    directory[WINDOW / LARGE] = entry;
    write_cr3(read_cr3());
    must("before", before, FIRST);
    must("after", after, SECOND);
    must_execute(&exit, &pass);
}

CHECK(exit_flushes, "E-35/translations", NEEDS_L2, SDM_INVALIDATE,
      "VM exit invalidates L1's translations when VPIDs are not enabled")
{
    l2_prepare(pass.start);
    must_flush_l1();
}

CHECK(exit_flushes_no_ept, "E-35/translations-without-ept", NEEDS_L2, SDM_INVALIDATE,
      "VM exit from an L2 without EPT invalidates L1's translations when VPIDs are not enabled")
{
    l2_prepare(pass.start);
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    must_flush_l1();
}

static void must_flush_l2(void)
{
    prepare(l2_tables.directory);
    struct vm_exit exit = l2_try(&look);
    u32 before = exit.registers.eax;
    show(pages[1]);
    exit = l2_try(&look);
    must("before", before, FIRST);
    must("after", exit.registers.eax, SECOND);
    must_execute(&exit, &look);
}

CHECK(entry_flushes, "E-38/translations", NEEDS_L2, SDM_INVALIDATE,
      "VM entry invalidates L2's translations when VPIDs are not enabled")
{
    l2_prepare(look.start);
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    must_flush_l2();
}

CHECK(entry_flushes_no_ept, "E-38/translations-without-ept", NEEDS_L2, SDM_INVALIDATE,
      "VM entry of an L2 without EPT invalidates its translations when VPIDs are not enabled")
{
    l2_prepare(look.start);
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
    must_flush_l2();
}

CHECK(invvpid, "E-38/translations-invvpid", NEEDS_L2, SDM_INVALIDATE,
      "VM entry after INVVPID of L2's VPID translates with what the page tables hold then")
{
    l2_prepare(look.start);
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_VPID, "no VPIDs");
    if (!(ept_capabilities() >> 32 & 1) || !(ept_capabilities() >> 41 & 1))
        skip("no INVVPID of a single context");
    vmcs_write(VPID, 5);
    prepare(l2_tables.directory);
    struct vm_exit exit = l2_try(&look);
    u32 before = exit.registers.eax;
    show(pages[1]);
    u32 outcome = vmx_invvpid(1, &(struct invvpid_descriptor){ 5, 0 });
    exit = l2_try(&look);
    must("before", before, FIRST);
    must("invvpid", outcome, VM_SUCCEED);
    must("after", exit.registers.eax, SECOND);
    must_execute(&exit, &look);
}
