/* Instructions that exit by a control, or always: exit reason, RIP, instruction length and exit qualification. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define BY_CONTROL "Instructions That Cause VM Exits Conditionally (Vol. 3, 26.1.3)"
#define ALWAYS "Instructions That Cause VM Exits Unconditionally (Vol. 3, 26.1.2)"
#define PRIMARY PRIMARY_PROCESSOR_BASED_CONTROLS
#define SECONDARY SECONDARY_PROCESSOR_BASED_CONTROLS

enum { OPERAND = 0x12345678 };

static void prepare(const struct l2_code *code)
{
    l2_prepare(code->start);
    l2_registers = (struct general_registers){ .ebx = OPERAND, .ecx = 0 };
}

static void must_exit(const struct l2_code *code, u32 reason, u32 length, u64 qualification)
{
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, reason);
    must("instruction_length", exit.instruction_length, length);
    must("exit_qualification", exit.qualification, qualification);
    must_stop_at(&exit, code->start);
    saw_exit(&exit, code->start);
}

#define EXITS(ident, id, name, assembly, field, bit, reason, length, qualification)                          \
    L2_CODE(ident, assembly);                                                                                \
    CHECK(ident##_exits, "exits/" id, NEEDS_L2, BY_CONTROL, name " in L2 exits when its control is set")      \
    {                                                                                                        \
        prepare(&ident);                                                                                     \
        vmcs_set_controls(field, bit, "no control for this instruction");                                     \
        must_exit(&ident, reason, length, qualification);                                                     \
    }
#define RUNS(ident, id, name, field, bit)                                                                    \
    CHECK(ident##_runs, "executes/" id, NEEDS_L2, BY_CONTROL, name " in L2 executes when its control is clear") \
    {                                                                                                        \
        prepare(&ident);                                                                                     \
        vmcs_clear_controls(field, bit, "the control of this instruction is fixed to 1");                     \
        struct vm_exit exit = l2_run();                                                                      \
        must_execute(&exit, &ident);                                                                         \
    }
#define EXITS_OR_RUNS(ident, id, name, assembly, field, bit, reason, length, qualification)                  \
    EXITS(ident, id, name, assembly, field, bit, reason, length, qualification)                              \
    RUNS(ident, id, name, field, bit)

EXITS(hlt, "hlt", "HLT", "hlt", PRIMARY, HLT_EXITING, EXIT_HLT, 1, 0)
EXITS_OR_RUNS(invlpg, "invlpg", "INVLPG", "invlpg (%ebx)", PRIMARY, INVLPG_EXITING, EXIT_INVLPG, 3, OPERAND)
EXITS(rdpmc, "rdpmc", "RDPMC", "rdpmc", PRIMARY, RDPMC_EXITING, EXIT_RDPMC, 2, 0)
EXITS_OR_RUNS(rdtsc, "rdtsc", "RDTSC", "rdtsc", PRIMARY, RDTSC_EXITING, EXIT_RDTSC, 2, 0)
EXITS_OR_RUNS(pause, "pause", "PAUSE", "pause", PRIMARY, PAUSE_EXITING, EXIT_PAUSE, 2, 0)
EXITS_OR_RUNS(to_dr, "mov-to-dr0", "MOV to DR0", "movl %ebx, %dr0", PRIMARY, MOV_DR_EXITING, EXIT_MOV_DR, 3, 3 << 8)
EXITS_OR_RUNS(from_dr, "mov-from-dr6", "MOV from DR6", "movl %dr6, %ecx", PRIMARY, MOV_DR_EXITING, EXIT_MOV_DR, 3,
              1 << 8 | 1 << 4 | 6)
EXITS_OR_RUNS(wbinvd, "wbinvd", "WBINVD", "wbinvd", SECONDARY, WBINVD_EXITING, EXIT_WBINVD, 2, 0)
EXITS(to_cr3, "mov-to-cr3", "MOV to CR3", "movl %ebx, %cr3", PRIMARY, CR3_LOAD_EXITING, EXIT_CONTROL_REGISTER_ACCESS,
      3, 3 << 8 | 3)
EXITS_OR_RUNS(from_cr3, "mov-from-cr3", "MOV from CR3", "movl %cr3, %ecx", PRIMARY, CR3_STORE_EXITING,
              EXIT_CONTROL_REGISTER_ACCESS, 3, 1 << 8 | 1 << 4 | 3)

L2_CODE(rdtscp, "rdtscp");

static void about_to_rdtscp(void)
{
    prepare(&rdtscp);
    vmcs_set_controls(SECONDARY, ENABLE_RDTSCP, "no RDTSCP in L2");
}

CHECK(rdtscp_exits, "exits/rdtscp", NEEDS_L2, BY_CONTROL, "RDTSCP in L2 exits when RDTSC exiting is set")
{
    about_to_rdtscp();
    vmcs_set_controls(PRIMARY, RDTSC_EXITING, "no RDTSC exiting");
    must_exit(&rdtscp, EXIT_RDTSCP, 3, 0);
}

CHECK(rdtscp_runs, "executes/rdtscp", NEEDS_L2, BY_CONTROL, "RDTSCP in L2 executes when RDTSC exiting is clear")
{
    about_to_rdtscp();
    struct vm_exit exit = l2_run();
    must_execute(&exit, &rdtscp);
}

CHECK(rdtscp_ud, "exits/rdtscp-disabled", NEEDS_L2, "Changes to Instruction Behavior in VMX Non-Root Operation (26.3)",
      "RDTSCP in L2 causes #UD when L1 does not enable it, also with RDTSC exiting")
{
    prepare(&rdtscp);
    vmcs_set_controls(PRIMARY, RDTSC_EXITING, "no RDTSC exiting");
    struct vm_exit exit = l2_run();
    must_take_exception(&exit, &rdtscp, VECTOR_UD, 0);
}

#define FEATURE_MONITOR FEATURE("no MONITOR", 1, ECX, 3)
#define FEATURE_RDRAND FEATURE("no RDRAND", 1, ECX, 30)
#define FEATURE_INVPCID FEATURE("no INVPCID", 7, EBX, 10)

#define EXITS_WITH(feature, ident, id, name, assembly, field, bit, reason, length)                           \
    L2_CODE(ident, assembly);                                                                                \
    CHECK(ident##_exits, "exits/" id, NEEDS_L2, BY_CONTROL, name " in L2 exits when its control is set")      \
    {                                                                                                        \
        need(feature);                                                                                       \
        prepare(&ident);                                                                                     \
        vmcs_set_controls(field, bit, "no control for this instruction");                                     \
        must_exit(&ident, reason, length, 0);                                                                 \
    }
EXITS_WITH(FEATURE_MONITOR, monitor, "monitor", "MONITOR", "monitor", PRIMARY, MONITOR_EXITING, EXIT_MONITOR, 3)
EXITS_WITH(FEATURE_MONITOR, mwait, "mwait", "MWAIT", "mwait", PRIMARY, MWAIT_EXITING, EXIT_MWAIT, 3)
EXITS_WITH(FEATURE_RDRAND, rdrand, "rdrand", "RDRAND", "rdrand %ecx", SECONDARY, RDRAND_EXITING, EXIT_RDRAND, 3)

/* What exits whatever the controls are. */
#define UNCONDITIONAL(ident, id, name, assembly, reason, length)                                             \
    L2_CODE(ident, assembly);                                                                                \
    CHECK(ident##_exits, "exits/" id, NEEDS_L2, ALWAYS, name " in L2 exits, whatever the controls are")       \
    {                                                                                                        \
        prepare(&ident);                                                                                     \
        must_exit(&ident, reason, length, 0);                                                                 \
    }
UNCONDITIONAL(cpuid_code, "cpuid", "CPUID", "cpuid", EXIT_CPUID, 2)
UNCONDITIONAL(invd, "invd", "INVD", "invd", EXIT_INVD, 2)
UNCONDITIONAL(vmcall, "vmcall", "VMCALL", "vmcall", EXIT_VMCALL, 3)
UNCONDITIONAL(vmlaunch, "vmlaunch", "VMLAUNCH", "vmlaunch", EXIT_VMLAUNCH, 3)
UNCONDITIONAL(vmresume, "vmresume", "VMRESUME", "vmresume", EXIT_VMRESUME, 3)
UNCONDITIONAL(vmxoff, "vmxoff", "VMXOFF", "vmxoff", EXIT_VMXOFF, 3)

L2_CODE(xsetbv, "xsetbv");
CHECK(xsetbv_exits, "exits/xsetbv", NEEDS_L2, ALWAYS, "XSETBV in L2 exits, whatever the controls are")
{
    need(FEATURE_XSAVE);
    prepare(&xsetbv);
    vmcs_write(GUEST_CR4, CR4_VMXE | CR4_OSXSAVE);
    must_exit(&xsetbv, EXIT_XSETBV, 3, 0);
}

CHECK(user_vmcall, "exits/vmcall-at-cpl-3", NEEDS_L2, ALWAYS, "VMCALL in L2 exits also at CPL 3")
{
    prepare(&vmcall);
    l2_user_mode();
    must_exit(&vmcall, EXIT_VMCALL, 3, 0);
}

CHECK(user_cpuid, "exits/cpuid-at-cpl-3", NEEDS_L2, ALWAYS, "CPUID in L2 exits also at CPL 3")
{
    prepare(&cpuid_code);
    l2_user_mode();
    must_exit(&cpuid_code, EXIT_CPUID, 2, 0);
}

static void must_fault_at_cpl_3(const struct l2_code *code)
{
    l2_user_mode();
    struct vm_exit exit = l2_run();
    must_take_exception(&exit, code, VECTOR_GP, 0);
}

CHECK(user_hlt, "exits/hlt-at-cpl-3", NEEDS_L2, "Relative Priority of Faults and VM Exits (Vol. 3, 26.1.1)",
      "HLT in L2 at CPL 3 causes #GP(0), which comes before its VM exit")
{
    prepare(&hlt);
    must_fault_at_cpl_3(&hlt);
}

CHECK(user_invd, "exits/invd-at-cpl-3", NEEDS_L2, "Relative Priority of Faults and VM Exits (Vol. 3, 26.1.1)",
      "INVD in L2 at CPL 3 causes #GP(0), which comes before its VM exit")
{
    prepare(&invd);
    must_fault_at_cpl_3(&invd);
}

CHECK(prefixed, "exits/cpuid-prefixed", NEEDS_L2, "VM-Exit Instruction Length (Vol. 3, 28.2.5)",
      "CPUID in L2 with two prefixes exits with an instruction length that counts them")
{
    static const char code[] = { 0x3E, 0x2E, 0x0F, (char)0xA2 };
    l2_prepare(code);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_CPUID);
    must("instruction_length", exit.instruction_length, sizeof code);
    must_stop_at(&exit, code);
    saw_exit(&exit, code);
}
