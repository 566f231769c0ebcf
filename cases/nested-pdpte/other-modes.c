/* L2-23 and L2-24: the paging modes without PDPTE registers. MOV to CR loads nothing; the first walk reads the absent
   page. */
#include "stage.h"

#include "selectors.h"

#define AS_IT_STANDS(words) #words
#define IN_WORDS(macro) AS_IT_STANDS(macro)

/* L2 turns IA-32e mode on, goes to 64-bit code and there loads CR3 from RCX. Only 64-bit code comes to REACHED_END. */
extern const char l2_enters_64_bit[], l2_in_ia32e[], l2_mov_cr3_64[], l2_mov_cr3_64_then[];
asm(".pushsection .text\n"
    "l2_enters_64_bit:   movl %eax, %cr0\n"
    "l2_in_ia32e:        ljmp $" IN_WORDS(SELECTOR_CODE_64) ", $1f\n"
    ".code64\n"
    "1:                  movl %ecx, %ecx\n"
    "l2_mov_cr3_64:      movq %rcx, %cr3\n"
    "l2_mov_cr3_64_then: movabsq $0x600D00000000, %rax\n"
    "                    shrq $32, %rax\n"
    "                    vmcall\n"
    ".code32\n"
    ".popsection\n");

/* The PML4 table, or page directory, for MOV to CR3; what it holds does not matter when its page is absent. */
static u64 other_root[512] PAGE_ALIGNED;

static void about_to_enter_64_bit(const u64 *root)
{
    l2_prepare(l2_enters_64_bit);
    l2_registers.eax = L2_CR0 | CR0_PG;
    l2_registers.ecx = address_of(root);
    l2_use_4_level_paging();
}

static void must_be_in_ia32e(const struct vm_exit *exit, const u64 *root)
{
    must("guest_ia32_efer", vmcs_read64(GUEST_IA32_EFER), EFER_LME | EFER_LMA);
    must_have(exit, (struct control_registers){ L2_CR0 | CR0_PG, address_of(root), L2_CR4 });
}

CHECK(long_mapped, "L2-23/mapped", NEEDS_L2, "Initializing IA-32e Mode (Vol. 3, 10.8.5)",
      "Control: MOV to CR0 sets PG with IA32_EFER.LME, and L2 runs 64-bit code that loads CR3")
{
    about_to_enter_64_bit(l2_tables.pml4);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    must_be_in_ia32e(&exit, l2_tables.pml4);
    saw_exit(&exit, l2_enters_64_bit);
}

CHECK(long_cr0, "L2-23/mov-cr0", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "MOV to CR0 enters IA-32e mode although EPT lacks the PML4 table, and the next fetch causes an EPT violation")
{
    about_to_enter_64_bit(l2_tables.pml4);
    ept_protect(l2_tables.pml4, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_violate_in_walk(&exit, address_of(l2_tables.pml4), address_of(l2_in_ia32e), VIOLATION_READ);
    must_stop_at(&exit, l2_in_ia32e);
    must_be_in_ia32e(&exit, l2_tables.pml4);
    saw_exit(&exit, l2_in_ia32e);
    ept_protect(l2_tables.pml4, EPT_ALL);
    must("eax_once_mapped", l2_run().registers.eax, REACHED_END);
}

CHECK(long_cr3, "L2-23/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "MOV to CR3 of a PML4 table that EPT lacks executes in 64-bit mode, and the next fetch causes an EPT violation")
{
    about_to_enter_64_bit(other_root);
    ept_protect(other_root, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_violate_in_walk(&exit, address_of(other_root), address_of(l2_mov_cr3_64_then), VIOLATION_READ);
    must_stop_at(&exit, l2_mov_cr3_64_then);
    must_be_in_ia32e(&exit, other_root);
    saw_exit(&exit, l2_mov_cr3_64_then);
}

enum { PDE_BYTES = 4, PDE_SHIFT = 22 };

static struct control_registers paging_32_bit(const void *root)
{
    return (struct control_registers){ L2_CR0 | CR0_PG, address_of(root), CR4_VMXE | CR4_PSE };
}

static void about_to_use_32_bit(const char *instruction, u32 operand)
{
    l2_prepare(instruction);
    l2_use_32_bit_paging();
    l2_registers.eax = operand;
}

static void must_walk_to_hole(const struct vm_exit *exit, const void *root, const char *then, u32 access)
{
    u32 entry = address_of(root) + (address_of(then) >> PDE_SHIFT) * PDE_BYTES;
    must_violate_in_walk(exit, entry, address_of(then), access);
    must_stop_at(exit, then);
    must_have(exit, paging_32_bit(root));
    saw_exit(exit, then);
}

CHECK(legacy_mapped, "L2-24/mapped", NEEDS_L2, "32-Bit Paging (Vol. 3, 4.3)",
      "Control: MOV to CR0 sets PG without PAE, and L2 runs with 32-bit paging")
{
    about_to_use_32_bit(l2_mov_cr0, L2_CR0 | CR0_PG);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    must_have(&exit, paging_32_bit(l2_tables.directory));
    saw_exit(&exit, l2_mov_cr0);
}

CHECK(legacy_cr0, "L2-24/mov-cr0", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "MOV to CR0 turns 32-bit paging on although EPT lacks the page directory, and the next fetch causes an EPT "
      "violation")
{
    about_to_use_32_bit(l2_mov_cr0, L2_CR0 | CR0_PG);
    ept_protect(l2_tables.directory, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_walk_to_hole(&exit, l2_tables.directory, l2_mov_cr0_then, VIOLATION_READ);
    ept_protect(l2_tables.directory, EPT_ALL);
    must("eax_once_mapped", l2_run().registers.eax, REACHED_END);
}

CHECK(legacy_cr3, "L2-24/mov-cr3", NEEDS_L2, EPT_VIOLATIONS "; " EXIT_QUALIFICATION_TABLE,
      "MOV to CR3 of a page directory that EPT lacks executes, and the next fetch causes an EPT violation")
{
    about_to_use_32_bit(l2_mov_cr3, address_of(other_root));
    l2_turn_paging_on();
    ept_protect(other_root, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_walk_to_hole(&exit, other_root, l2_mov_cr3_then, VIOLATION_READ);
}

CHECK(legacy_tracked, "L2-24/accessed-dirty", NEEDS_L2, EXIT_QUALIFICATION_TABLE ", footnote on bits 1:0",
      "An EPT violation of a page walk reports a read and a write when accessed and dirty flags are on for EPT")
{
    about_to_use_32_bit(l2_mov_cr0, L2_CR0 | CR0_PG);
    ept_track();
    ept_protect(l2_tables.directory, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must_walk_to_hole(&exit, l2_tables.directory, l2_mov_cr0_then, VIOLATION_READ | VIOLATION_WRITE);
}
