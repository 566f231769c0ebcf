/* M-16: CR3-target values, to which L2 may set CR3 without an exit. */
#include "stage.h"

#define SDM_TARGETS "CR3-Target Controls (Vol. 3, 25.6.7); " SDM_EXITS

enum { INVALID_CONTROLS = 7, MOST_TARGETS = 4 };
/* Any value that CR3 may hold: L2 runs without paging. */
static const u32 values[MOST_TARGETS] = { 0x10000, 0x21018, 0x32FE0, 0x400000 };

L2_CODE(mov_to_cr3, "movl %eax, %cr3");

/* L2 with CR3-load exiting, `count` targets considered and each that the CPU has set, MOVs `value` to CR3. */
static struct vm_exit load_cr3(u32 count, u32 value)
{
    l2_prepare(mov_to_cr3.start);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_LOAD_EXITING, "no CR3-load exiting");
    for (u32 target = 0; target < MOST_TARGETS && target < vmx_cr3_targets(); target++)
        vmcs_write(CR3_TARGET_VALUE0 + target * FIELD_STEP, values[target]);
    vmcs_write(CR3_TARGET_COUNT, count);
    return l2_try_with(&mov_to_cr3, value);
}

static void need_targets(u32 needed)
{
    if (vmx_cr3_targets() < needed)
        skip("too few CR3-target values");
}

CHECK(no_targets, "M-16/control", NEEDS_L2, SDM_TARGETS,
      "Control: MOV to CR3 exits and leaves CR3 unchanged when the CR3-target count is 0")
{
    struct vm_exit exit = load_cr3(0, values[0]);
    must_exit_on(&exit, &mov_to_cr3, MOV_TO_CR(3, EAX));
    must("cr3", exit.cr3, 0);
}

static void target_matches(u32 target)
{
    need_targets(target + 1);
    struct vm_exit exit = load_cr3(target + 1, values[target]);
    must_execute(&exit, &mov_to_cr3);
    must("cr3", exit.cr3, values[target]);
}

CHECK(target_0, "M-16/target-0", NEEDS_L2, SDM_TARGETS, "MOV to CR3 of CR3-target value 0 does not exit and loads CR3")
{
    target_matches(0);
}

CHECK(target_1, "M-16/target-1", NEEDS_L2, SDM_TARGETS, "MOV to CR3 of CR3-target value 1 does not exit and loads CR3")
{
    target_matches(1);
}

CHECK(target_2, "M-16/target-2", NEEDS_L2, SDM_TARGETS, "MOV to CR3 of CR3-target value 2 does not exit and loads CR3")
{
    target_matches(2);
}

CHECK(target_3, "M-16/target-3", NEEDS_L2, SDM_TARGETS, "MOV to CR3 of CR3-target value 3 does not exit and loads CR3")
{
    target_matches(3);
}

CHECK(no_match, "M-16/no-match", NEEDS_L2, SDM_TARGETS,
      "MOV to CR3 of a value that differs from the CR3-target values in one bit exits")
{
    need_targets(1);
    struct vm_exit exit = load_cr3(1, values[0] ^ 1u << 3);
    must_exit_on(&exit, &mov_to_cr3, MOV_TO_CR(3, EAX));
    must("cr3", exit.cr3, 0);
}

CHECK(beyond_count, "M-16/beyond-count", NEEDS_L2, SDM_TARGETS,
      "MOV to CR3 of CR3-target value 1 exits when the CR3-target count is 1")
{
    need_targets(2);
    struct vm_exit exit = load_cr3(1, values[1]);
    must_exit_on(&exit, &mov_to_cr3, MOV_TO_CR(3, EAX));
    must("cr3", exit.cr3, 0);
}

CHECK(count_too_large, "M-16/count-too-large", NEEDS_L2, SDM_TARGETS "; Checks on VMX Controls (Vol. 3, 27.2.1.1)",
      "VM entry fails with error 7 when the CR3-target count is larger than the CPU supports")
{
    struct vm_exit exit = load_cr3(vmx_cr3_targets() + 1, values[0]);
    noted("cr3_targets", vmx_cr3_targets());
    must("failed_entry", exit.failed_entry, true);
    must("vm_instruction_error", exit.instruction_error, INVALID_CONTROLS);
}
