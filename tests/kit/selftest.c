/* What the kit promises, checked by the kit itself: checks that must PASS, and some that must not. Each id says which. */
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

CHECK(image_whole, "pass/image-whole", NEEDS_NOTHING, "none", "An image larger than one disk read arrives whole")
{
    const volatile u8 *bytes = filler;
    must("first", bytes[0], 1);
    must("last", bytes[BEYOND_DISK_CHUNK - 1], 0xA5);
}

CHECK(trap_comes_back, "pass/trap", NEEDS_NOTHING, "none", "An exception in L1 is captured, again and again")
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

CHECK(modes, "pass/mode", NEEDS_NOTHING, "none",
      "L1 goes to PAE paging, an exception there is captured, and L1 comes back")
{
    u32 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    need(FEATURE_PAE);
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

CHECK(long_mode, "pass/long-mode", NEEDS_NOTHING, "none",
      "64-bit code runs, exceptions in it and beside it are captured, L1 comes back")
{
    u32 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    u64 far_away = (u64)3 << 40;
    need(FEATURE_LONG_MODE);
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

CHECK(user_mode, "pass/user-mode", NEEDS_NOTHING, "none",
      "Code in a user page runs at CPL 3, and an exception there comes back")
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

CHECK(resumes, "pass/resume", NEEDS_L2, "none", "A page is taken away, the guest exits, gets the page back and goes on")
{
    far_page[8] = 0x5A;
    l2_prepare(l2_reads);
    l2_registers.ebx = address_of(far_page + 8);
    ept_protect(far_page, EPT_NOTHING);
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

CHECK(l2_exception, "pass/l2-exception", NEEDS_L2, "none", "An exception in L2 is told with its vector and address")
{
    l2_prepare(l2_undefined);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("exception", exit.exception, true);
    must("vector", exit.vector, INVALID_OPCODE);
    must_stop_at(&exit, l2_ud2);
    saw_exit(&exit, l2_ud2);
}

CHECK(l2_page_fault, "pass/l2-page-fault", NEEDS_L2, "none", "A page fault in L2 is told with error code and CR2")
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

CHECK(l2_skips, "pass/skip-instruction", NEEDS_L2, "none", "An instruction that exits is stepped over")
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

CHECK(entry_fails, "pass/entry-failure", NEEDS_L2, "none", "A VM entry with bad guest state is an exit that says so")
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

/* L2 halts, with interrupts off as `l2_prepare` leaves them. */
extern const char l2_halts[], l2_halted[];
asm(".pushsection .text\n"
    "l2_halts:  hlt\n"
    "l2_halted: movl $0xB0B, %esi\n"
    "           vmcall\n"
    ".popsection\n");

enum { ACTIVE, HALTED };

static void about_to_halt(void)
{
    l2_prepare(l2_halts);
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, HLT_EXITING, "HLT always exits");
}

/* L2 was woken by this exit, and can go on. */
static void must_wake(const struct vm_exit *exit, enum exit_reason reason)
{
    must("exit_reason", exit->reason, reason);
    must("rip_offset", rip_offset(exit, l2_halts), (u32)(l2_halted - l2_halts));
    must("interrupt_flag", exit->rflags >> 9 & 1, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, ACTIVE);
    struct vm_exit then = l2_run();
    must("exit_reason_then", then.reason, EXIT_VMCALL);
    must("esi_then", then.registers.esi, 0xB0B);
}

CHECK(halted_timer, "pass/hlt-preemption-timer", NEEDS_L2, "none", "The preemption timer ends HLT with interrupts off")
{
    about_to_halt();
    vmcs_set_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "no VMX-preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, (1u << 22) >> vmx_preemption_timer_shift());
    struct vm_exit exit = l2_run();
    vmcs_clear_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "");
    must("activity_state", exit.activity_state, HALTED);
    must_wake(&exit, EXIT_PREEMPTION_TIMER);
}

CHECK(halted_trap, "pass/hlt-monitor-trap", NEEDS_L2, "none", "The monitor trap flag ends HLT with interrupts off")
{
    about_to_halt();
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, MONITOR_TRAP_FLAG, "no monitor trap flag");
    struct vm_exit exit = l2_run();
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, MONITOR_TRAP_FLAG, "");
    noted("activity_state", exit.activity_state);
    must_wake(&exit, EXIT_MONITOR_TRAP_FLAG);
}

enum { IO_APIC = 0xFEC00000, LOCAL_APIC_ID = 0xFEE00020, PIT_PIN = 0x10 + 2 * 2, PIN_MASKED = 1 << 16, PIN_NMI = 4 << 8 };

static void write_io_apic(u32 number, u32 value)
{
    *(volatile u32 *)IO_APIC = number;
    *(volatile u32 *)(IO_APIC + 0x10) = value;
}

CHECK(halted_nmi, "pass/hlt-nmi", NEEDS_L2, "none",
      "An NMI, from the timer by way of the APICs, ends HLT with interrupts off")
{
    about_to_halt();
    vmcs_set_controls(PIN_BASED_CONTROLS, NMI_EXITING, "no NMI exiting");
    write_io_apic(PIT_PIN + 1, *(volatile u32 *)LOCAL_APIC_ID);
    write_io_apic(PIT_PIN, PIN_NMI);
    out8(0x43, 0x30); /* counter 0, once, the longest: 55 ms */
    out8(0x40, 0);
    out8(0x40, 0);
    struct vm_exit exit = l2_run();
    write_io_apic(PIT_PIN, PIN_MASKED);
    asm volatile("pushfl; pushl %cs; pushl $1f; iret; 1:"); /* NMIs are blocked up to an IRET */
    must("exit_interruption_information", exit.interruption_information, 0x80000202);
    noted("activity_state", exit.activity_state);
    must_wake(&exit, EXIT_EXCEPTION_OR_NMI);
}

CHECK(broken, "fail/requirement", NEEDS_NOTHING, "none",
      "A requirement that is not met makes the check FAIL, whatever follows it")
{
    must("one", 1, 2);
    must("one", 1, 2);
    leave_open();
    skip("nothing");
}

CHECK(broken_once, "fail/in-a-loop", NEEDS_NOTHING, "none",
      "A requirement that is met but once shows the value that broke it")
{
    for (u32 round = 0; round < 4; round++)
        must("one", round == 2 ? 7 : 1, 1);
}

CHECK(undecided, "open/undecided", NEEDS_NOTHING, "none", "What the SDM leaves open is OPEN")
{
    must("one", 1, 1);
    leave_open();
}

CHECK(required_nothing, "open/required-nothing", NEEDS_NOTHING, "none", "A check that required nothing does not PASS")
{
    saw("one", 1);
}

CHECK(lacking, "skip/lacking", NEEDS_NOTHING, "none", "What this CPU lacks ends the check")
{
    must("before", 1, 1);
    skip("no such thing");
    must("after", 1, 2);
}

CHECK(gives_up, "fail/unexpected-exception", NEEDS_NOTHING, "none",
      "An exception that nobody expected ends the image, so this is the last check")
{
    undefined(0);
}
