/* F-16: L1 in PAE paging, L2 in PAE paging with PDPTEs of its own. */
#include "check.h"
#include "cpu.h"
#include "l1_mode.h"
#include "l2.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "vmx.h"

#define EXIT_LOADS "Checking and Loading Host Page-Directory-Pointer-Table Entries (Vol. 3, 28.5.4)"
#define ENTRY_LOADS "Loading Page-Directory-Pointer-Table Entries (Vol. 3, 27.3.2.4)"

enum { FIRST = 0xAAAA, SECOND = 0xBBBB, L2_VALUE = 0xCCCC, VALUES = 3, TOP = 3 };

L2_CODE(nop, "nop");
L2_CODE(look, "movl (%ebx), %eax");

/* PDPTE 3 shows one value in all of its GiB: each look is at an address that no TLB entry knows. */
static struct pae_tables l1_tables;
static u64 directories[VALUES][512] PAGE_ALIGNED, tables[VALUES][512] PAGE_ALIGNED;
static u32 values[VALUES][1024] PAGE_ALIGNED;
static u32 looks;

static u64 shows(u32 value)
{
    u32 index = value == FIRST ? 0 : value == SECOND ? 1 : 2;
    return address_of(directories[index]) | PTE_PRESENT;
}

static u32 fresh_address(void)
{
    return (u32)TOP << 30 | looks++ << 21;
}

static u32 l1_sees(void)
{
    return *(volatile u32 *)fresh_address();
}

static void fill_in(void)
{
    static const u32 shown[VALUES] = { FIRST, SECOND, L2_VALUE };
    looks = 0;
    for (u32 index = 0; index < VALUES; index++) {
        fill32(values[index], shown[index], 1024);
        for (u32 entry = 0; entry < 512; entry++) {
            directories[index][entry] = address_of(tables[index]) | PTE_WRITABLE | PTE_PRESENT;
            tables[index][entry] = address_of(values[index]) | PTE_WRITABLE | PTE_PRESENT;
        }
    }
    pae_identity(&l1_tables);
    l1_tables.pdpt[TOP] = shows(FIRST);
}

/* L1 goes to PAE paging, with L2 prepared in a mode. */
enum l2_mode { UNPAGED, PAE };
static void both(const struct l2_code *code, enum l2_mode mode)
{
    fill_in();
    l2_prepare(code->start);
    if (mode == PAE) {
        l2_use_pae_paging();
        l2_tables.pae.pdpt[TOP] = shows(L2_VALUE);
        l2_turn_paging_on();
    }
    l1_in_pae_paging(address_of(l1_tables.pdpt));
}

static struct vm_exit l2_looks(void)
{
    l2_registers.ebx = fresh_address();
    return l2_try(&look);
}

CHECK(control, "F-16/no-exit", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)",
      "Control: L1 in PAE paging translates with its PDPTE registers until MOV to CR3 loads them")
{
    both(&nop, UNPAGED);
    u32 before = l1_sees();
    l1_tables.pdpt[TOP] = shows(SECOND);
    u32 changed = l1_sees();
    write_cr3(read_cr3());
    u32 loaded = l1_sees();
    l1_home();
    must("before", before, FIRST);
    must("changed", changed, FIRST);
    must("loaded", loaded, SECOND);
}

static void must_load_from_memory(enum l2_mode mode)
{
    both(&nop, mode);
    u32 before = l1_sees();
    l1_tables.pdpt[TOP] = shows(SECOND);
    struct vm_exit exit = l2_run();
    u32 after = l1_sees(), cr3 = read_cr3(), cr4 = read_cr4();
    l1_tables.pdpt[TOP] = shows(FIRST);
    u32 kept = l1_sees();
    struct vm_exit second = l2_try(&nop);
    u32 after_second = l1_sees();
    l1_home();
    must("before", before, FIRST);
    must("after_exit", after, SECOND);
    must("kept", kept, SECOND);
    must("after_second_exit", after_second, FIRST);
    must("second_exit_reason", second.reason, EXIT_VMCALL);
    must("l1_cr3", cr3, address_of(l1_tables.pdpt));
    must("l1_cr4", cr4, CR4_VMXE | CR4_PAE);
    must_execute(&exit, &nop);
}

CHECK(unpaged, "F-16/l2-unpaged", NEEDS_L2, EXIT_LOADS,
      "A VM exit from an L2 without paging loads the PDPTEs of an L1 in PAE paging from memory")
{
    must_load_from_memory(UNPAGED);
}

CHECK(pae, "F-16/l2-pae", NEEDS_L2, EXIT_LOADS,
      "A VM exit from an L2 in PAE paging loads the PDPTEs of an L1 in PAE paging from memory")
{
    must_load_from_memory(PAE);
}

CHECK(own, "F-16/l2-own", NEEDS_L2, ENTRY_LOADS,
      "VM entry loads L2's PDPTEs from the VMCS, also with other ones in memory and in an L1 in PAE paging")
{
    both(&look, PAE);
    l2_tables.pae.pdpt[TOP] = shows(SECOND); /* in memory alone */
    struct vm_exit first = l2_looks();
    u32 between = l1_sees();
    struct vm_exit second = l2_looks();
    l1_home();
    must("first_l2_sees", first.registers.eax, L2_VALUE);
    must("l1_sees", between, FIRST);
    must("second_l2_sees", second.registers.eax, L2_VALUE);
    must_execute(&second, &look);
}

CHECK(failed, "F-16/failed-entry", NEEDS_L2, EXIT_LOADS,
      "A failed VM entry between two good ones loads L1's PDPTEs from memory, and L2 keeps its own")
{
    both(&look, PAE);
    struct vm_exit first = l2_looks();
    u64 pdpte = vmcs_read64(GUEST_PDPTE2);
    vmcs_write64(GUEST_PDPTE2, pdpte | 2);
    l1_tables.pdpt[TOP] = shows(SECOND);
    struct vm_exit failure = l2_looks();
    u32 after_failure = l1_sees();
    vmcs_write64(GUEST_PDPTE2, pdpte);
    struct vm_exit last = l2_looks();
    u32 after_last = l1_sees();
    l1_home();
    must("first_l2_sees", first.registers.eax, L2_VALUE);
    must("failed_exit_reason", failure.reason, ENTRY_FAILURE | EXIT_ENTRY_FAILED_GUEST_STATE);
    must("failed_exit_qualification", failure.qualification, 2);
    must("l1_sees_after_failure", after_failure, SECOND);
    must("last_l2_sees", last.registers.eax, L2_VALUE);
    must("l1_sees_after_exit", after_last, SECOND);
    must_execute(&last, &look);
}
