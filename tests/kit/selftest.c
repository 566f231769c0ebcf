/* What the kit promises, asked of the kit itself: checks that must PASS, and some that must not. Each id says which. */
#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "feature.h"
#include "l2.h"
#include "long.h"
#include "mode.h"
#include "paging.h"
#include "trap.h"
#include "user.h"
#include "vmx.h"
#include "window.h"

enum { PAGE_FAULT = 14, INVALID_OPCODE = 6, GENERAL_PROTECTION = 13 };
enum { BEYOND_DISK_CHUNK = 200 * 512, BEYOND_GDT = 0x1230 };

static u8 far_page[PAGE_SIZE] PAGE_ALIGNED;
static struct pae_tables tables;

/* Longer than one read of the boot sector: what lies behind must arrive, too. */
static const u8 filler[BEYOND_DISK_CHUNK] = { [0] = 1, [BEYOND_DISK_CHUNK - 1] = 0xA5 };

extern const char l2_reads[], l2_read[], l2_undefined[], l2_ud2[], l2_cpuid[], l2_asks[], l2_behind[], l2_end[];
asm(".pushsection .text\n"
    "l2_reads:     movl $0x1234, %ecx\n"
    "l2_read:      movl (%ebx), %eax\n"
    "              vmcall\n"
    "l2_undefined: nop\n"
    "l2_ud2:       ud2\n"
    "l2_cpuid:     movl $1, %eax\n"
    "l2_asks:      cpuid\n"
    "l2_behind:    movl $0xB0B, %esi\n"
    "l2_end:       vmcall\n"
    ".popsection\n");

static void undefined(u32 argument)
{
    (void)argument;
    asm volatile("ud2");
}

static void load_fs(u32 selector)
{
    asm volatile("mov %0, %%fs" : : "r"(selector));
}

static void nothing(u32 argument)
{
    (void)argument;
}

CHECK(image_whole, "pass/image-whole", NEEDS_NOTHING, "none", "an image larger than one disk read arrives whole")
{
    const volatile u8 *bytes = filler;
    must("first", bytes[0], 1);
    must("last", bytes[BEYOND_DISK_CHUNK - 1], 0xA5);
}

CHECK(trap_comes_back, "pass/trap", NEEDS_NOTHING, "none", "an exception in L1 is captured, again and again")
{
    for (u32 round = 0; round < 3; round++) {
        struct trap trap = trap_in(undefined, 0);
        must("taken", trap.taken, true);
        must("vector", trap.vector, INVALID_OPCODE);
    }
    struct trap trap = trap_in(load_fs, BEYOND_GDT);
    must("selector_taken", trap.taken, true);
    must("selector_vector", trap.vector, GENERAL_PROTECTION);
    must("selector_error_code", trap.error_code, BEYOND_GDT);
    must("none_taken", trap_in(nothing, 0).taken, false);
}

CHECK(modes, "pass/mode", NEEDS_NOTHING, "none", "L1 goes to PAE paging, an exception there is captured, and L1 comes back")
{
    u32 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    if (!(cpuid(1).edx & 1 << 6))
        return skip("no PAE");
    pae_identity(&tables);
    mode_enter((struct mode){ .cr0 = cr0 | CR0_WP, .cr3 = address_of(tables.pdpt), .cr4 = CR4_PAE });
    must("cr0_there", read_cr0(), cr0 | CR0_WP);
    must("cr3_there", read_cr3(), address_of(tables.pdpt));
    must("cr4_there", read_cr4(), CR4_PAE);
    tables.pdpt[2] |= 2; /* reserved: the MOV to CR3 and entering again would fault, and leaving must not care */
    struct trap trap = trap_in(mov_to_cr3, read_cr3());
    must("vector", trap.vector, GENERAL_PROTECTION);
    must("eip", trap.eip, address_of(mov_to_cr3_instruction));
    mode_leave();
    must("cr0", read_cr0(), cr0);
    must("cr3", read_cr3(), cr3);
    must("cr4", read_cr4(), cr4);
}

extern const char adds_in_64_bit_code[], faults_in_64_bit_code[], faults_there[], user_code[];
asm(".pushsection .text\n"
    ".code64\n"
    "adds_in_64_bit_code:   lea 1(%rax), %rax\n"
    "                       ret\n"
    "faults_in_64_bit_code: pushq %rax\n"
    "faults_there:          movq (%rax), %rax\n"
    "                       ret\n"
    ".code32\n"
    "user_code:             hlt\n"
    ".popsection\n");

CHECK(long_mode, "pass/long-mode", NEEDS_NOTHING, "none", "64-bit code runs, exceptions in it and beside it are captured, L1 comes back")
{
    u32 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    u64 far_away = (u64)3 << 40;
    if (lacks(FEATURE_LONG_MODE))
        return;
    u64 efer = read_msr(IA32_EFER);
    long_enter();
    must("efer_there", read_msr(IA32_EFER), efer | EFER_LME | EFER_LMA);
    must("taken", trap_in_64(adds_in_64_bit_code, far_away).taken, false);
    must("rax", long_result(), far_away + 1);
    struct trap trap = trap_in_64(faults_in_64_bit_code, far_away);
    must("vector", trap.vector, PAGE_FAULT);
    must("error_code", trap.error_code, 0);
    must("rip", trap.eip, address_of(faults_there));
    must("cr2", trap.cr2, far_away);
    must("vector_in_compatibility_mode", trap_in(undefined, 0).vector, INVALID_OPCODE);
    long_leave();
    must("vector_back", trap_in(undefined, 0).vector, INVALID_OPCODE);
    must("efer", read_msr(IA32_EFER), efer);
    must("cr0", read_cr0(), cr0);
    must("cr3", read_cr3(), cr3);
    must("cr4", read_cr4(), cr4);
}

CHECK(user_mode, "pass/user-mode", NEEDS_NOTHING, "none", "code in a user page runs at CPL 3, and an exception there comes back")
{
    window_enter(PAGING_32_BIT, PTE_USER | PTE_PRESENT);
    window_page[0] = (u8)user_code[0];
    struct trap trap = trap_in_user((u32)window_address(), 0);
    window_rights(PTE_PRESENT);
    window_flush();
    struct trap none_of_its = trap_in_user((u32)window_address(), 0);
    window_leave();
    must("vector", trap.vector, GENERAL_PROTECTION);
    must("eip", trap.eip, window_address());
    must("vector_in_supervisor_page", none_of_its.vector, PAGE_FAULT);
    must("error_code_in_supervisor_page", none_of_its.error_code & ~PF_FETCH, PF_PRESENT | PF_USER);
}

CHECK(resumes, "pass/resume", NEEDS_L2, "none", "a page is taken away, the guest exits, gets the page back and goes on")
{
    far_page[8] = 0x5A;
    l2_prepare(l2_reads);
    l2_registers.ebx = address_of(far_page + 8);
    ept_protect(far_page, 0);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("guest_physical_address", exit.guest_physical_address, address_of(far_page + 8));
    must_stop_at(&exit, l2_read);
    saw_exit(&exit, l2_read);
    ept_protect(far_page, EPT_READ);
    exit = l2_run();
    must("exit_reason_then", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, 0x5A);
    must("ecx", exit.registers.ecx, 0x1234);
}

CHECK(l2_exception, "pass/l2-exception", NEEDS_L2, "none", "an exception in L2 is told with its vector and address")
{
    l2_prepare(l2_undefined);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("exception", exit.exception, true);
    must("vector", exit.vector, INVALID_OPCODE);
    must_stop_at(&exit, l2_ud2);
    saw_exit(&exit, l2_ud2);
}

CHECK(l2_page_fault, "pass/l2-page-fault", NEEDS_L2, "none", "a page fault in L2 is told with error code and CR2")
{
    pae_identity(&tables);
    tables.directories[3][7] = 0;
    l2_prepare(l2_reads);
    l2_registers.ebx = 3u << 30 | 7u << 21 | 4;
    vmcs_write(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    vmcs_write(GUEST_CR3, address_of(tables.pdpt));
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_PAE);
    for (u32 index = 0; index < 4; index++)
        vmcs_write64(GUEST_PDPTE0 + 2 * index, tables.pdpt[index]);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, PAGE_FAULT);
    must("error_code", exit.error_code, 0);
    must("fault_address", exit.exception_cr2, 3u << 30 | 7u << 21 | 4);
    must_stop_at(&exit, l2_read);
    saw_exit(&exit, l2_read);
}

CHECK(l2_skips, "pass/skip-instruction", NEEDS_L2, "none", "an instruction that exits is stepped over")
{
    l2_prepare(l2_cpuid);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_CPUID);
    must_stop_at(&exit, l2_asks);
    must("length", exit.instruction_length, (u32)(l2_behind - l2_asks));
    l2_skip_instruction(&exit);
    exit = l2_run();
    must("exit_reason_then", exit.reason, EXIT_VMCALL);
    must("esi", exit.registers.esi, 0xB0B);
    must("rip_offset_then", exit.rip - address_of(l2_end), 0);
}

CHECK(entry_fails, "pass/entry-failure", NEEDS_L2, "none", "a VM entry with bad guest state is an exit that says so")
{
    l2_prepare(l2_undefined);
    vmcs_write(GUEST_RFLAGS, 0); /* bit 1 must be 1 */
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, 1u << 31 | EXIT_ENTRY_FAILED_GUEST_STATE);
    vmcs_write(GUEST_RFLAGS, 2);
    must("exit_reason_then", l2_run().reason, EXIT_VMCALL);
    vmcs_write(PRIMARY_PROCESSOR_BASED_CONTROLS, 0); /* bits that must be 1 are not */
    exit = l2_run();
    must("failed_entry", exit.failed_entry, true);
    must("vm_instruction_error", exit.instruction_error, 7);
}

CHECK(broken, "fail/requirement", NEEDS_NOTHING, "none", "a requirement that is not met, whatever follows it")
{
    must("one", 1, 2);
    must("one", 1, 2);
    leave_open();
    skip("nothing");
}

CHECK(contradiction, "fail/said-twice", NEEDS_NOTHING, "none", "one field with two values")
{
    saw("one", 1);
    saw("one", 2);
}

CHECK(too_many, "fail/too-many-fields", NEEDS_NOTHING, "none", "more fields than a record holds")
{
    static char names[64][3];
    for (u32 index = 0; index < 64; index++) {
        names[index][0] = (char)('a' + index / 8);
        names[index][1] = (char)('a' + index % 8);
        saw(names[index], index);
    }
}

CHECK(undecided, "open/undecided", NEEDS_NOTHING, "none", "what the SDM leaves open")
{
    saw("one", 1);
    leave_open();
}

CHECK(lacking, "skip/lacking", NEEDS_NOTHING, "none", "what this CPU lacks")
{
    skip("no such thing");
}

CHECK(gives_up, "fail/unexpected-exception", NEEDS_NOTHING, "none", "last: an exception that nobody expected ends the image")
{
    undefined(0);
}
