/* The TSC offset, and where it applies. INVPCID. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "l2.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "msr_bitmap.h"
#include "tally.h"
#include "vmx.h"

#define OFFSETTING "Use TSC Offsetting: Changes to Instruction Behavior in VMX Non-Root Operation (Vol. 3, 26.3)"
enum { IA32_TIME_STAMP_COUNTER = 0x10, SHIFT = 48 };
#define OFFSET ((u64)5 << SHIFT)

L2_CODE(rdtsc, "rdtsc");
L2_CODE(rdmsr_of_tsc, "movl $0x10, %ecx; rdmsr");

/* Both differences are far below the offset: L1 reads its own TSC before and after. */
static void must_be_offset_by(const struct l2_code *code, u32 controls, u64 offset)
{
    l2_prepare(code->start);
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, RDTSC_EXITING, "RDTSC exiting is fixed to 1");
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, controls, "no TSC offsetting");
    msr_bitmap_use();
    vmcs_write64(TSC_OFFSET, OFFSET);
    u64 before = read_msr(IA32_TIME_STAMP_COUNTER);
    struct vm_exit exit = l2_run();
    u64 after = read_msr(IA32_TIME_STAMP_COUNTER);
    u64 inside = (u64)exit.registers.edx << 32 | exit.registers.eax;
    must("l1_offset", (after - before) >> SHIFT, 0);
    must("l2_offset", (inside - before) >> SHIFT, offset >> SHIFT);
    must("l2_before_l1", after + offset >= inside, true);
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("rip_offset", rip_offset(&exit, code->end), 0);
}

CHECK(offset, "tsc-offset/rdtsc", NEEDS_L2, OFFSETTING,
      "RDTSC in L2 with TSC offsetting gives L1's TSC plus the offset, which L1's own RDTSC never has")
{
    must_be_offset_by(&rdtsc, USE_TSC_OFFSETTING, OFFSET);
}

CHECK(offset_msr, "tsc-offset/rdmsr", NEEDS_L2, OFFSETTING,
      "RDMSR of IA32_TIME_STAMP_COUNTER in L2 with TSC offsetting gives L1's TSC plus the offset")
{
    must_be_offset_by(&rdmsr_of_tsc, USE_TSC_OFFSETTING, OFFSET);
}

CHECK(no_offset, "tsc-offset/off", NEEDS_L2, OFFSETTING,
      "Control: RDTSC in L2 without TSC offsetting gives L1's TSC, whatever the offset is")
{
    must_be_offset_by(&rdtsc, 0, 0);
}

/* Entries that fail in each of their stages. */
CHECK(failed, "tsc-offset/failed-entry", NEEDS_L2, OFFSETTING,
      "L1's TSC has no offset after a VM entry that fails for guest state, for a PDPTE, or while MSRs are loaded")
{
    static const struct {
        u32 index, reserved;
        u64 value;
    } bad_msr __attribute__((aligned(16))) = { 0x277, 0, 2 };
    enum { FLAGS, CONTROL_REGISTER, PDPTE, MSR, STAGES };
    struct tally tally = { 0 };
    for (u32 stage = FLAGS; stage < STAGES; stage++) {
        l2_prepare(rdtsc.start);
        if (stage == PDPTE) {
            l2_use_pae_paging();
            l2_turn_paging_on();
            vmcs_write64(GUEST_PDPTE0, 3);
        }
        vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, USE_TSC_OFFSETTING, "no TSC offsetting");
        vmcs_write64(TSC_OFFSET, OFFSET);
        if (stage == FLAGS)
            vmcs_write(GUEST_RFLAGS, 0);
        if (stage == CONTROL_REGISTER)
            vmcs_write(GUEST_CR4, 0);
        vmcs_write64(VM_ENTRY_MSR_LOAD_ADDRESS, address_of(&bad_msr));
        vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, stage == MSR);
        u64 before = read_msr(IA32_TIME_STAMP_COUNTER);
        struct vm_exit exit = l2_run();
        u64 after = read_msr(IA32_TIME_STAMP_COUNTER);
        u32 reason = stage == MSR ? EXIT_ENTRY_FAILED_MSR_LOADING : EXIT_ENTRY_FAILED_GUEST_STATE;
        tally_turn(&tally, stage, exit.reason, ENTRY_FAILURE | reason);
        tally_turn(&tally, stage | 1 << 8, (after - before) >> SHIFT, 0);
    }
    must_tally(&tally);
}

/* INVPCID, which needs a control to execute, and exits by that of INVLPG. */
#define FEATURE_INVPCID FEATURE("no INVPCID", 7, EBX, 10)
#define INVPCID_BEHAVIOR "Changes to Instruction Behavior in VMX Non-Root Operation (Vol. 3, 26.3); 26.1.3"
static const u64 invpcid_descriptor[2] __attribute__((aligned(16)));
enum { ALL_CONTEXTS = 2 };
L2_CODE(invpcid, "invpcid (%ebx), %ecx");

static void with_invpcid(u32 secondary)
{
    need(FEATURE_INVPCID);
    l2_prepare(invpcid.start);
    if (!(vmcs_allowed_controls(SECONDARY_PROCESSOR_BASED_CONTROLS) >> 32 & ENABLE_INVPCID))
        skip("no INVPCID in L2");
    vmcs_write(SECONDARY_PROCESSOR_BASED_CONTROLS, vmcs_read(SECONDARY_PROCESSOR_BASED_CONTROLS) | secondary);
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, INVLPG_EXITING, "INVLPG exiting is fixed to 1");
    l2_registers.ebx = address_of(invpcid_descriptor);
    l2_registers.ecx = ALL_CONTEXTS;
}

CHECK(invpcid_runs, "executes/invpcid", NEEDS_L2, INVPCID_BEHAVIOR,
      "INVPCID in L2 executes when L1 enables it and INVLPG exiting is clear")
{
    with_invpcid(ENABLE_INVPCID);
    struct vm_exit exit = l2_run();
    must_execute(&exit, &invpcid);
}

CHECK(invpcid_exits, "exits/invpcid", NEEDS_L2, INVPCID_BEHAVIOR,
      "INVPCID in L2 exits when L1 enables it and INVLPG exiting is set")
{
    with_invpcid(ENABLE_INVPCID);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, INVLPG_EXITING, "no INVLPG exiting");
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_INVPCID);
    must("instruction_length", exit.instruction_length, 5);
    must_stop_at(&exit, invpcid.start);
}

CHECK(invpcid_ud, "exits/invpcid-disabled", NEEDS_L2, INVPCID_BEHAVIOR,
      "INVPCID in L2 causes #UD when L1 does not enable it, also with INVLPG exiting")
{
    with_invpcid(0);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, INVLPG_EXITING, "no INVLPG exiting");
    struct vm_exit exit = l2_run();
    must_take_exception(&exit, &invpcid, VECTOR_UD, 0);
}
