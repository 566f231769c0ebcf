#include "stage.h"

#define PROGRAM(name, instruction)           \
    asm(".pushsection .text\n"               \
        ".globl " #name ", " #name "_then\n" \
        #name ": " instruction "\n"          \
        #name "_then:\n"                     \
        "movl $0x600D, %eax\n"               \
        "vmcall\n"                           \
        ".popsection\n")
PROGRAM(l2_mov_cr0, "movl %eax, %cr0");
PROGRAM(l2_mov_cr3, "movl %eax, %cr3");
PROGRAM(l2_mov_cr4, "movl %eax, %cr4");
PROGRAM(l2_lmsw, "lmsw %ax");
PROGRAM(l2_clts, "clts");

u64 other_pdpt[512] PAGE_ALIGNED;

static const char *instruction;
static u32 operand, stack;
static struct control_registers before;
static u64 registers_before[4]; /* the PDPTE registers */

static void prepare(const char *code, u32 value)
{
    instruction = code;
    operand = value;
    l2_prepare(code);
    l2_registers.eax = value;
    l2_use_pae_paging();
    stack = vmcs_read(GUEST_RSP);
    before = (struct control_registers){ L2_CR0, address_of(l2_tables.pae.pdpt), L2_CR4 };
}

void about_to_set_pg(void)
{
    prepare(l2_mov_cr0, L2_CR0 | CR0_PG);
}

void about_to(const char *code, u32 value)
{
    prepare(code, value);
    l2_turn_paging_on();
    before.cr0 |= CR0_PG;
    for (u32 index = 0; index < 4; index++) {
        registers_before[index] = l2_tables.pae.pdpt[index];
        l2_tables.pae.pdpt[index] |= PDPTE_PWT;
        other_pdpt[index] = l2_tables.pae.pdpt[index];
    }
}

void starts_with_cr0(u32 value)
{
    before.cr0 = value;
    vmcs_write(GUEST_CR0, value);
}

void starts_with_pdptes(const u64 pdptes[4])
{
    for (u32 index = 0; index < 4; index++) {
        registers_before[index] = pdptes[index];
        vmcs_write64(GUEST_PDPTE0 + index * FIELD_STEP, pdptes[index]);
    }
}

void use_table(u64 *pdptes)
{
    before.cr3 = address_of(pdptes);
    vmcs_write(GUEST_CR3, before.cr3);
}

void put_table_in_window(void)
{
    ept_map(WINDOW, l2_tables.pae.pdpt, EPT_ALL);
    before.cr3 = WINDOW;
    vmcs_write(GUEST_CR3, before.cr3);
}

void rights_by_level(u32 directory, u32 leaf)
{
    about_to_set_pg();
    put_table_in_window();
    u64 *entry = ept_entry(WINDOW, EPT_PDE);
    *entry = (*entry & ~(u64)EPT_ALL) | directory;
    ept_map(WINDOW, l2_tables.pae.pdpt, leaf);
}

void need_execute_only(void)
{
    if (!(ept_capabilities() & EPT_CAPABILITY_EXECUTE_ONLY))
        skip("no execute-only EPT entries");
}

void about_to_again(void)
{
    l2_registers.eax = operand;
    vmcs_write(GUEST_RIP, address_of(instruction));
    vmcs_write(GUEST_RSP, stack);
    vmcs_write(GUEST_CR0, before.cr0);
}

static struct control_registers after(void)
{
    struct control_registers registers = before;
    if (instruction == l2_mov_cr0)
        registers.cr0 = operand;
    else if (instruction == l2_mov_cr3)
        registers.cr3 = operand;
    else if (instruction == l2_mov_cr4)
        registers.cr4 = operand;
    else if (instruction == l2_lmsw)
        registers.cr0 |= operand;
    else
        registers.cr0 &= ~CR0_TS;
    return registers;
}

void must_have(const struct vm_exit *exit, struct control_registers registers)
{
    if (exit->failed_entry)
        return;
    must("cr0", exit->cr0, registers.cr0);
    must("cr3", exit->cr3, registers.cr3);
    must("cr4", exit->cr4, registers.cr4);
}

/* Outside PAE paging a VM exit saves nothing defined in the PDPTE fields. */
static void must_keep_pdptes(const struct vm_exit *exit)
{
    if (before.cr0 & exit->cr0 & CR0_PG)
        must_hold_pdptes(exit, registers_before);
}

static struct vm_exit must_complete(void)
{
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    must_have(&exit, after());
    return exit;
}

void run_must_load(const u64 pdptes[4])
{
    struct vm_exit exit = must_complete();
    if (exit.cr0 & CR0_PG)
        must_hold_pdptes(&exit, pdptes);
    saw_exit(&exit, instruction);
}

void run_must_not_load(void)
{
    struct vm_exit exit = must_complete();
    must_keep_pdptes(&exit);
    saw_exit(&exit, instruction);
}

static void must_be_a_fault(const struct vm_exit *exit)
{
    must_stop_at(exit, instruction);
    must_have(exit, before);
    must_keep_pdptes(exit);
    saw_exit(exit, instruction);
}

void run_must_violate(u32 allowed)
{
    struct vm_exit exit = l2_run();
    must_violate_at_pdptes(&exit, after().cr3, allowed);
    must_be_a_fault(&exit);
}

void run_must_misconfigure(void)
{
    struct vm_exit exit = l2_run();
    must_misconfigure_at_pdptes(&exit, after().cr3);
    must_be_a_fault(&exit);
}
