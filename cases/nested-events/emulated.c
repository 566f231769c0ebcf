/* What happens between two instructions of L2 when a hypervisor below L1 executes the first in the CPU's stead: the
   monitor trap flag, single-stepping, and the end of blocking by STI, as after an instruction that the CPU executes. */
#include "stage.h"

#include "apic.h"
#include "msr_bitmap.h"
#include "tally.h"

#define MTF "Monitor Trap Flag (Vol. 3, 26.5.2)"
#define SINGLE_STEP "Single-Step Exception Condition (Vol. 3, 18.3.1.4)"
enum { RFLAGS_TF = 0x100, DB = 1 };
#define SINGLE_STEPPED (1u << 14)
enum { IA32_APIC_BASE = 0x1B, IA32_PAT = 0x277, DELAY_PORT = 0x80, STATUS_PORT = 0x61 };

/* Each is one instruction in whose stead KVM may act, but the first. */
static u32 buffer[4];
#define CODES(CODE)                                                                       \
    CODE(plain, "movl $5, %edx", 0)                                                       \
    CODE(in, "inb $0x61, %al", 0)                                                         \
    CODE(out, "outb %al, $0x80", 0)                                                       \
    CODE(ins, "insb", STATUS_PORT)                                                        \
    CODE(outs, "outsb", DELAY_PORT)                                                       \
    CODE(rdmsr, "rdmsr", 0)                                                               \
    CODE(wrmsr, "wrmsr", 0)                                                               \
    CODE(to_cr0, "movl %ebp, %cr0", 0)                                                    \
    CODE(to_cr4, "movl %ebp, %cr4", 0)                                                    \
    CODE(lmsw, "lmsw %bp", 0)                                                             \
    CODE(mmio, "movl (%ebx), %edx", 0)
#define CODE_OF(name, assembly, port) L2_CODE(name##_code, assembly);
CODES(CODE_OF)

struct turn {
    const struct l2_code *code;
    u32 port;
};
#define TURN_OF(name, assembly, port) { &name##_code, port },

/* One instruction after the other, in an L2 with these controls, RFLAGS and interruptibility state. */
static void each(struct tally *tally, u32 primary, u32 bitmap, u32 rflags, u32 interruptibility,
                 u64 (*outcome)(const struct vm_exit *exit, const struct l2_code *code), u64 required)
{
    static struct turn turns[] = { CODES(TURN_OF) };
    for (u32 index = 0; index < ARRAY_SIZE(turns); index++) {
        const struct l2_code *code = turns[index].code;
        l2_with_events(code, 0, primary);
        msr_bitmap_use();
        vmcs_write(EXCEPTION_BITMAP, bitmap);
        vmcs_write(GUEST_RFLAGS, rflags);
        vmcs_write(GUEST_INTERRUPTIBILITY_STATE, interruptibility);
        ept_map(LOCAL_APIC, (const void *)LOCAL_APIC, EPT_READ | EPT_WRITE);
        u64 pat = read_msr(IA32_PAT);
        l2_registers = (struct general_registers){
            .eax = (u32)pat,
            .edx = code == &wrmsr_code ? (u32)(pat >> 32) : turns[index].port,
            .ecx = code == &rdmsr_code ? IA32_APIC_BASE : IA32_PAT,
            .ebx = LOCAL_APIC + APIC_VERSION,
            .esi = address_of(buffer),
            .edi = address_of(buffer),
            .ebp = code == &to_cr4_code ? CR4_VMXE | CR4_PSE : CR0_PE | CR0_MP | CR0_ET | CR0_NE,
        };
        struct vm_exit exit = l2_run();
        tally_turn(tally, index, outcome(&exit, code), required);
    }
    must_tally(tally);
}

/* Where L2 was stopped, counted from the end of its instruction, and by what. */
static u64 stopped(u32 by, const struct vm_exit *exit, const struct l2_code *code)
{
    return (u64)by << 32 | ((u32)exit->exception_rip - address_of(code->end));
}

static u64 exit_at(const struct vm_exit *exit, const struct l2_code *code)
{
    return (u64)exit->reason << 32 | ((u32)exit->rip - address_of(code->end));
}

static u64 vector_at(const struct vm_exit *exit, const struct l2_code *code)
{
    return exit->exception ? stopped(exit->vector, exit, code) : exit_at(exit, code);
}

static u64 qualification_at(const struct vm_exit *exit, const struct l2_code *code)
{
    return vector_at(exit, code) | (exit->qualification & SINGLE_STEPPED);
}

CHECK(mtf_each, "monitor-trap-flag/each-instruction", NEEDS_L2, MTF,
      "The monitor trap flag ends L2 after one instruction, port I/O, an MSR or control-register access among them")
{
    struct tally tally = { 0 };
    each(&tally, MONITOR_TRAP_FLAG, 0, RFLAGS_NO_IF, 0, exit_at, (u64)EXIT_MONITOR_TRAP_FLAG << 32);
}

CHECK(tf_each, "single-step/each-instruction", NEEDS_L2, SINGLE_STEP,
      "RFLAGS.TF causes #DB in L2 after one instruction, port I/O, an MSR or control-register access among them")
{
    struct tally tally = { 0 };
    each(&tally, 0, 0, RFLAGS_TF | RFLAGS_NO_IF, 0, vector_at, (u64)DB << 32);
}

CHECK(tf_exits, "single-step/exception-bitmap", NEEDS_L2, SINGLE_STEP "; Basic VM-Exit Information (Vol. 3, 28.2.1)",
      "The #DB of RFLAGS.TF after one instruction of L2 exits by the exception bitmap, with BS in its qualification")
{
    struct tally tally = { 0 };
    each(&tally, 0, 1 << DB, RFLAGS_TF | RFLAGS_NO_IF, 0, qualification_at, (u64)DB << 32 | SINGLE_STEPPED);
}

CHECK(mtf_first, "monitor-trap-flag/single-step", NEEDS_L2, MTF,
      "The monitor trap flag ends L2 after one instruction before the #DB of RFLAGS.TF, which exits or not")
{
    struct tally tally = { 0 };
    each(&tally, MONITOR_TRAP_FLAG, 1 << DB, RFLAGS_TF | RFLAGS_NO_IF, 0, exit_at, (u64)EXIT_MONITOR_TRAP_FLAG << 32);
}

static u64 pending_at(const struct vm_exit *exit, const struct l2_code *code)
{
    return exit_at(exit, code) | (exit->pending_debug_exceptions & SINGLE_STEPPED);
}

CHECK(mtf_pending_db, "monitor-trap-flag/pending-debug", NEEDS_L2, MTF "; " SAVING_STATE,
      "An exit by the monitor trap flag with RFLAGS.TF set saves the #DB that it comes before as pending, with BS set")
{
    struct tally tally = { 0 };
    each(&tally, MONITOR_TRAP_FLAG, 0, RFLAGS_TF | RFLAGS_NO_IF, 0, pending_at,
         (u64)EXIT_MONITOR_TRAP_FLAG << 32 | SINGLE_STEPPED);
}

CHECK(sti_each, "interrupt-window/each-instruction", NEEDS_L2, WINDOWS,
      "Interrupt-window exiting waits for one instruction while STI blocks, port I/O and an MSR access among them")
{
    struct tally tally = { 0 };
    each(&tally, INTERRUPT_WINDOW_EXITING, 0, RFLAGS_IF, BLOCKING_BY_STI, exit_at, (u64)EXIT_INTERRUPT_WINDOW << 32);
}

/* An exception that a hypervisor below L1 raises. */
L2_CODE(bad_cr0, "movl %ebp, %cr0");
L2_CODE(bad_wrmsr, "wrmsr");

static void must_have_no_error_code(const struct l2_code *code)
{
    l2_prepare(code->start);
    l2_real_mode();
    msr_bitmap_use();
    l2_registers.ebp = CR0_PG | CR0_ET | CR0_NE; /* without PE */
    l2_registers.ecx = IA32_PAT;
    l2_registers.eax = 2; /* no memory type */
    struct vm_exit exit = l2_try(code);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_interruption_information", exit.interruption_information, INFORMATION_VALID | 3 << 8 | 13);
    must_stop_at(&exit, code->start);
}

CHECK(real_cr0, "exceptions/real-mode-mov-to-cr0", NEEDS_L2,
      "Information for VM Exits Due to Vectored Events (Vol. 3, 28.2.2)",
      "A #GP of MOV to CR0 that exits from an L2 in real-address mode has no error code")
{
    must_have_no_error_code(&bad_cr0);
}

CHECK(real_wrmsr, "exceptions/real-mode-wrmsr", NEEDS_L2,
      "Information for VM Exits Due to Vectored Events (Vol. 3, 28.2.2)",
      "A #GP of WRMSR that exits from an L2 in real-address mode has no error code")
{
    must_have_no_error_code(&bad_wrmsr);
}

/* The timer of the VMX-preemption timer: it may be late, but not early. */
L2_CODE(spins, "1: rdtsc\ncmpl %ebx, %edx\njb 1b\nja 2f\ncmpl %ecx, %eax\njb 1b\n2:");

CHECK(timer_early, "timer/not-early", NEEDS_L2, TIMER,
      "The preemption timer counts at the rate that IA32_VMX_MISC reports, and does not expire in half of its time")
{
    enum { TICKS = 1 << 21 };
    l2_with_events(&spins, PREEMPTION_TIMER, 0);
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, RDTSC_EXITING, "RDTSC exiting is fixed to 1");
    set_timer(TICKS);
    u64 start = read_msr(0x10);
    u64 end = start + (TICKS >> 1);
    l2_registers.ecx = (u32)end;
    l2_registers.ebx = (u32)(end >> 32);
    struct vm_exit exit = l2_run();
    noted("ticks", read_msr(0x10) - start);
    must_execute(&exit, &spins);
}

/* An INIT is blocked in VMX root operation and ends L2. */
L2_CODE(nops, "nop\nnop");

CHECK(init, "init/exits", NEEDS_L2, OTHER_EXITS,
      "An INIT that is pending at VM entry, as VMX root operation blocks it, ends L2 with exit reason 3")
{
    enum { INIT_TO_TARGET = 5 << 8 | 1 << 14, COMMAND_HIGH_REGISTER = 0x310, COMMAND_REGISTER = 0x300, ID = 0x20 };
    l2_with_events(&nops, 0, 0);
    apic_write(COMMAND_HIGH_REGISTER, apic_read(ID));
    apic_write(COMMAND_REGISTER, INIT_TO_TARGET);
    struct vm_exit exit = l2_run();
    must_be_at(&exit, &nops, EXIT_INIT, 0, ACTIVE);
    saw_exit(&exit, nops.start);
}
