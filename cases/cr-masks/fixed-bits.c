/* M-05 to M-09: bits of CR0 and CR4 that VMX operation fixes, in L2 and in VMX root operation. */
#include "l2_modes.h"
#include "stage.h"

#define PAGING_CR0 (L2_CR0 | CR0_PG)

static void with_paging(void)
{
    l2_use_32_bit_paging();
    l2_turn_paging_on();
}

static void restrict_guest(void)
{
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "unrestricted guest cannot be off");
}

static void l2_executes(const struct control_register *cr, u32 value)
{
    struct vm_exit exit = l2_try_with(cr->mov_to, value);
    must_execute(&exit, cr->mov_to);
    must(cr->number ? "cr4" : "cr0", cr->number ? exit.cr4 : exit.cr0, value);
}

static void l2_faults(const struct control_register *cr, u32 value)
{
    u32 before = vmcs_read(cr->guest);
    struct vm_exit exit = l2_try_with(cr->mov_to, value);
    must_take_exception(&exit, cr->mov_to, VECTOR_GP, 0);
    must(cr->number ? "cr4" : "cr0", cr->number ? exit.cr4 : exit.cr0, before);
}

CHECK(restricted, "M-05/control", NEEDS_L2, SDM_CHANGES, "control: an L2 that is not unrestricted, with paging, sets TS")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    restrict_guest();
    l2_executes(&cr0, PAGING_CR0 | CR0_TS);
}

CHECK(restricted_pg, "M-05/pg", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS, "without unrestricted guest, L2 clears PG: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    restrict_guest();
    l2_faults(&cr0, PAGING_CR0 & ~CR0_PG);
}

CHECK(restricted_pe, "M-05/pe", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "without unrestricted guest, L2 clears PG and PE: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    restrict_guest();
    l2_faults(&cr0, PAGING_CR0 & ~(CR0_PG | CR0_PE));
}

CHECK(restricted_masked, "M-05/masked", NEEDS_L2, SDM_CHANGES,
      "without unrestricted guest, L2 clears PG and PE where the mask owns both and the shadow has 0: no exit, no #GP, both stay")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    restrict_guest();
    own(&cr0, CR0_PG | CR0_PE, 0);
    struct vm_exit exit = l2_try_with(&mov_to_cr0, PAGING_CR0 & ~(CR0_PG | CR0_PE));
    must_execute(&exit, &mov_to_cr0);
    must("cr0", exit.cr0, PAGING_CR0);
}

CHECK(unrestricted_pg, "M-06/control-pg", NEEDS_L2, SDM_CHANGES, "control: an unrestricted L2 clears PG")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    l2_executes(&cr0, PAGING_CR0 & ~CR0_PG);
}

CHECK(unrestricted_pe, "M-06/control-pe", NEEDS_L2, SDM_CHANGES,
      "control: an unrestricted L2 clears PE, and sets it from real-address mode")
{
    l2_prepare(mov_to_cr0.start);
    l2_executes(&cr0, L2_CR0 & ~CR0_PE);
    l2_prepare(mov_to_cr0.start);
    l2_real_mode();
    struct vm_exit exit = l2_try_with(&mov_to_cr0, L2_CR0);
    must("sets_pe", executed(&exit, &mov_to_cr0), true);
    must("cr0_then", exit.cr0, L2_CR0);
}

CHECK(sets_pg_without_pe, "M-06/pg-without-pe", NEEDS_L2, SDM_CHANGES,
      "an unrestricted L2 without paging writes PG=1, PE=0: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    l2_faults(&cr0, (L2_CR0 & ~CR0_PE) | CR0_PG);
}

CHECK(clears_pe_alone, "M-06/pe-with-pg", NEEDS_L2, SDM_CHANGES, "an unrestricted L2 with paging clears PE alone: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    l2_faults(&cr0, PAGING_CR0 & ~CR0_PE);
}

CHECK(pg_in_real_mode, "M-06/pg-in-real-mode", NEEDS_L2, SDM_CHANGES, "an unrestricted L2 in real-address mode sets PG: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    l2_real_mode();
    l2_faults(&cr0, (L2_CR0 & ~CR0_PE) | CR0_PG);
}

/* L2 is ready for 32-bit paging, IA32_EFER.LME as `efer` has it. */
static void ready_for_paging(u32 efer)
{
    l2_prepare(mov_to_cr0.start);
    l2_use_32_bit_paging();
    vmcs_write64(GUEST_IA32_EFER, efer);
    vmcs_set_controls(VM_ENTRY_CONTROLS, LOAD_IA32_EFER, "no load of IA32_EFER by VM entry");
}

CHECK(pg_without_lme, "M-06/control-lme", NEEDS_L2, SDM_CHANGES, "control: LME=0, PAE=0, an unrestricted L2 sets PG")
{
    ready_for_paging(0);
    l2_executes(&cr0, PAGING_CR0);
}

CHECK(lme_without_pae, "M-06/lme-without-pae", NEEDS_L2, SDM_CHANGES, "LME=1, PAE=0, an unrestricted L2 sets PG: #GP(0)")
{
    ready_for_paging(EFER_LME);
    l2_faults(&cr0, PAGING_CR0);
}

CHECK(clears_ne, "M-07/ne", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS, "L2 clears NE, fixed to 1 in VMX operation: #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    l2_faults(&cr0, L2_CR0 & ~CR0_NE);
}

CHECK(clears_ne_in_real_mode, "M-07/real-mode", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "L2 in real-address mode clears NE: #GP")
{
    l2_prepare(mov_to_cr0.start);
    l2_real_mode();
    l2_faults(&cr0, L2_CR0 & ~(CR0_PE | CR0_NE));
}

CHECK(sets_pse, "M-08/control", NEEDS_L2, SDM_CHANGES, "control: L2 sets PSE and keeps VMXE")
{
    l2_prepare(mov_to_cr4.start);
    l2_executes(&cr4, L2_CR4 | CR4_PSE);
}

CHECK(clears_vmxe, "M-08/vmxe", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "L2 clears VMXE, fixed to 1 in VMX operation: #GP(0)")
{
    l2_prepare(mov_to_cr4.start);
    l2_faults(&cr4, 0);
}

/* For `trap_in`: load a control register, read it into `value_read`, and go back to what it was; in registers alone, as
   paging or protection may be off in between. CS is loaded again, as clearing PE may have made it one of real-address
   mode. */
u32 value_read;

#define MOV_THERE_AND_BACK(cr)                                                            \
    void mov_to_##cr##_and_back(u32 value);                                               \
    extern const char mov_to_##cr##_there[];                                              \
    asm(".pushsection .text\n"                                                            \
        "mov_to_" #cr "_and_back: movl 4(%esp), %eax\n"                                   \
        "                         movl %" #cr ", %ecx\n"                                  \
        "mov_to_" #cr "_there:    movl %eax, %" #cr "\n"                                  \
        "                         movl %" #cr ", %eax\n"                                  \
        "                         movl %ecx, %" #cr "\n"                                  \
        "                         ljmp $8, $1f\n"                                         \
        "1:                       movl %eax, value_read\n"                                \
        "                         ret\n"                                                  \
        ".popsection")
MOV_THERE_AND_BACK(cr0);
MOV_THERE_AND_BACK(cr4);
_Static_assert(SELECTOR_CODE == 8, "CS in MOV_THERE_AND_BACK");

static void cr0_faults(u32 value)
{
    must_fault(trap_in(mov_to_cr0_and_back, value), VECTOR_GP, 0, mov_to_cr0_there);
}

static void cr0_executes(u32 value)
{
    must_not_fault(trap_in(mov_to_cr0_and_back, value));
    must("value_read", value_read, value);
}

/* L2 has run, with or without unrestricted guest: whatever a CPU keeps of its current VMCS's controls, it has these. */
static void guest_has_run(bool unrestricted)
{
    l2_prepare(mov_from_cr0.start);
    with_paging();
    if (!unrestricted)
        restrict_guest();
    struct vm_exit exit = l2_run();
    must("l2_executed", executed(&exit, &mov_from_cr0), true);
}

CHECK(off_clears_pg, "M-09/control", NEEDS_L2, SDM_RESTRICTIONS, "control: outside VMX operation PG, NE and VMXE can be cleared")
{
    vmx_off();
    cr0_executes(read_cr0() & ~(CR0_PG | CR0_NE));
    must_not_fault(trap_in(mov_to_cr4_and_back, read_cr4() & ~CR4_VMXE));
    must("cr4_read", value_read & CR4_VMXE, 0);
    if (!vmx_on())
        give_up("VMXON failed");
}

CHECK(root_ts, "M-09/control-root", NEEDS_L2, SDM_RESTRICTIONS, "control: in VMX root operation TS can be set")
{
    guest_has_run(true);
    cr0_executes(read_cr0() | CR0_TS);
}

CHECK(root_pg, "M-09/pg", NEEDS_L2, SDM_RESTRICTIONS,
      "VMX root operation clears PG, the current VMCS has unrestricted guest: #GP(0)")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~CR0_PG);
}

CHECK(root_pg_restricted, "M-09/pg-restricted", NEEDS_L2, SDM_RESTRICTIONS,
      "VMX root operation clears PG, the current VMCS has no unrestricted guest: #GP(0)")
{
    guest_has_run(false);
    cr0_faults(read_cr0() & ~CR0_PG);
}

CHECK(root_pe, "M-09/pe", NEEDS_L2, SDM_RESTRICTIONS,
      "VMX root operation clears PG and PE, the current VMCS has unrestricted guest: #GP(0)")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~(CR0_PG | CR0_PE));
}

CHECK(root_pe_restricted, "M-09/pe-restricted", NEEDS_L2, SDM_RESTRICTIONS,
      "VMX root operation clears PG and PE, the current VMCS has no unrestricted guest: #GP(0)")
{
    guest_has_run(false);
    cr0_faults(read_cr0() & ~(CR0_PG | CR0_PE));
}

CHECK(root_ne, "M-09/ne", NEEDS_L2, SDM_RESTRICTIONS, "VMX root operation clears NE: #GP(0)")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~CR0_NE);
}

CHECK(root_vmxe, "M-09/vmxe", NEEDS_L2, SDM_RESTRICTIONS, "VMX root operation clears VMXE: #GP(0)")
{
    guest_has_run(true);
    must_fault(trap_in(mov_to_cr4_and_back, read_cr4() & ~CR4_VMXE), VECTOR_GP, 0, mov_to_cr4_there);
}
