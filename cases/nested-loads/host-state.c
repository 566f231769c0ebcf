/* F-10 and F-11: CR4.OSXSAVE as CPUID shows it, and LDTR, after VM exits and failed entries. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define OSXSAVE "CPUID (Vol. 2); Loading Host Control Registers, Debug Registers, MSRs (Vol. 3, 28.5.1)"
#define LDTR "Loading Host Segment and Descriptor-Table Registers (Vol. 3, 28.5.2)"
#define XSAVE_INSTRUCTIONS "XGETBV (Vol. 2)"

L2_CODE(nop, "nop");
L2_CODE(to_cr4, "movl %eax, %cr4");
L2_CODE(xgetbv, "xgetbv");

static u32 osxsave(void)
{
    return cpuid(1).ecx >> 27 & 1;
}

/* The CR4.OSXSAVE of L1, and of L2 at VM entry; L2 runs; L1's CPUID must say what its own CR4 has. */
static void must_show_own(const struct l2_code *code, bool in_l1, bool in_l2)
{
    need(FEATURE_XSAVE);
    if (in_l1)
        write_cr4(read_cr4() | CR4_OSXSAVE);
    l2_prepare(code->start);
    vmcs_write(GUEST_CR4, CR4_VMXE | (in_l2 ? CR4_OSXSAVE : 0));
    l2_registers.eax = CR4_VMXE | CR4_OSXSAVE; /* for a MOV to CR4 */
    struct vm_exit exit = l2_run();
    u32 shown = osxsave(), cr4 = read_cr4();
    write_cr4(cr4 & ~CR4_OSXSAVE);
    must("l1_cr4_osxsave", !!(cr4 & CR4_OSXSAVE), in_l1);
    must("cpuid_osxsave", shown, in_l1);
    must_execute(&exit, code);
}

CHECK(alone, "F-10/l1-alone", NEEDS_NOTHING, "CPUID (Vol. 2)",
      "Control: CPUID reports CR4.OSXSAVE as L1 sets and clears it")
{
    need(FEATURE_XSAVE);
    must("before", osxsave(), 0);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    u32 set = osxsave();
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    must("set", set, 1);
    must("cleared", osxsave(), 0);
}

CHECK(both_clear, "F-10/both-clear", NEEDS_L2, OSXSAVE,
      "Control: CPUID in L1 reports OSXSAVE=0 after the exit of an L2 that has it clear, too")
{
    must_show_own(&nop, false, false);
}

CHECK(l2_sets, "F-10/l2-sets", NEEDS_L2, OSXSAVE,
      "CPUID in L1 reports OSXSAVE=0 after the exit of an L2 that has set CR4.OSXSAVE")
{
    must_show_own(&to_cr4, false, false);
}

CHECK(entry_sets, "F-10/entry-sets", NEEDS_L2, OSXSAVE,
      "CPUID in L1 reports OSXSAVE=0 after the exit of an L2 that VM entry gave CR4.OSXSAVE=1")
{
    must_show_own(&nop, false, true);
}

CHECK(entry_clears, "F-10/entry-clears", NEEDS_L2, OSXSAVE,
      "CPUID in L1 reports OSXSAVE=1, which L1 has set, after the exit of an L2 that has it clear")
{
    must_show_own(&nop, true, false);
}

CHECK(xgetbv_set, "F-10/xgetbv-set", NEEDS_L2, XSAVE_INSTRUCTIONS,
      "XGETBV executes in an L2 that VM entry gave CR4.OSXSAVE=1, with L1's clear")
{
    need(FEATURE_XSAVE);
    l2_prepare(xgetbv.start);
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_OSXSAVE);
    struct vm_exit exit = l2_run();
    must_execute(&exit, &xgetbv);
}

CHECK(xgetbv_clear, "F-10/xgetbv-clear", NEEDS_L2, XSAVE_INSTRUCTIONS,
      "XGETBV in an L2 with CR4.OSXSAVE=0 causes #UD, whatever L1 has")
{
    need(FEATURE_XSAVE);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    l2_prepare(xgetbv.start);
    struct vm_exit exit = l2_run();
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    must_take_exception(&exit, &xgetbv, VECTOR_UD, 0);
}

/* LDTR. */
enum { SELECTOR_LDT = SELECTOR_SPARE, LDT_DATA = 4 };
static u64 ldt[1];

static u16 ldtr(void)
{
    u16 selector;
    asm volatile("sldt %0" : "=r"(selector));
    return selector;
}

static void write_ldtr(u16 selector)
{
    asm volatile("lldt %0" : : "r"(selector));
}

static void use_ldt(void)
{
    u64 base = address_of(ldt);
    ldt[0] = 0x00CF93000000FFFF;
    gdt_write(SELECTOR_LDT, base >> 24 << 56 | (u64)0x82 << 40 | (base & 0xFFFFFF) << 16 | (sizeof ldt - 1));
    write_ldtr(SELECTOR_LDT);
}

__attribute__((noinline, noclone)) static void load_es(u32 selector)
{
    asm volatile(".globl load_es_instruction\nload_es_instruction: movl %0, %%es" : : "r"(selector));
}
extern const char load_es_instruction[];

/* After an exit, or a failed entry: what is left of L1's LDT. */
static struct trap look_at_ldt(u16 *selector)
{
    *selector = ldtr();
    struct trap trap = trap_in(load_es, LDT_DATA);
    load_es(SELECTOR_DATA);
    write_ldtr(0);
    return trap;
}

CHECK(ldt_control, "F-11/l1-alone", NEEDS_NOTHING, "LLDT (Vol. 2)", "Control: L1 loads ES from its LDT")
{
    u16 selector;
    use_ldt();
    struct trap trap = look_at_ldt(&selector);
    must("ldtr_selector", selector, SELECTOR_LDT);
    must_not_fault(trap);
}

CHECK(ldt_exit, "F-11/vm-exit", NEEDS_L2, LDTR,
      "A VM exit leaves LDTR with selector 0 and unusable: a load from the LDT causes #GP")
{
    u16 selector;
    l2_prepare(nop.start);
    use_ldt();
    struct vm_exit exit = l2_run();
    struct trap trap = look_at_ldt(&selector);
    must("ldtr_selector", selector, 0);
    must_fault(trap, VECTOR_GP, LDT_DATA, load_es_instruction);
    must("exit_reason", exit.reason, EXIT_VMCALL);
}

CHECK(ldt_failed, "F-11/failed-entry", NEEDS_L2, "VM-Entry Failures During or After Loading Guest State (Vol. 3, 27.8)",
      "A VM entry that fails for guest state leaves LDTR with selector 0 and unusable, as a VM exit does")
{
    u16 selector;
    l2_prepare(nop.start);
    vmcs_write(GUEST_RFLAGS, 0);
    use_ldt();
    struct vm_exit exit = l2_run();
    struct trap trap = look_at_ldt(&selector);
    must("exit_reason", exit.reason, ENTRY_FAILURE | EXIT_ENTRY_FAILED_GUEST_STATE);
    must("ldtr_selector", selector, 0);
    must_fault(trap, VECTOR_GP, LDT_DATA, load_es_instruction);
}

CHECK(ldt_vmfail, "F-11/vmfail", NEEDS_L2, "VM-Instruction Error Numbers (Vol. 3, 31.4)",
      "Control: a VM entry that fails for a control field loads no host state, and LDTR stays")
{
    u16 selector;
    l2_prepare(nop.start);
    vmcs_write64(EPT_POINTER, 1);
    use_ldt();
    struct vm_exit exit = l2_run();
    struct trap trap = look_at_ldt(&selector);
    must("vm_instruction_error", exit.instruction_error, 7);
    must("ldtr_selector", selector, SELECTOR_LDT);
    must_not_fault(trap);
}
