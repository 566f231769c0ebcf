/* M-05 to M-09: bits of CR0 and CR4 that VMX operation fixes, in L2 and in VMX root operation. */
#include "effects.h"
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

/* L2 has paging and no unrestricted guest. */
static void prepare_restricted(void)
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    restrict_guest();
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

CHECK(restricted, "M-05/control", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 sets TS in an L2 with paging and without unrestricted guest")
{
    prepare_restricted();
    l2_executes(&cr0, PAGING_CR0 | CR0_TS);
}

CHECK(restricted_pg, "M-05/pg", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG in an L2 without unrestricted guest causes #GP(0)")
{
    prepare_restricted();
    l2_faults(&cr0, PAGING_CR0 & ~CR0_PG);
}

CHECK(restricted_pe, "M-05/pe", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG and PE in an L2 without unrestricted guest causes #GP(0)")
{
    prepare_restricted();
    l2_faults(&cr0, PAGING_CR0 & ~(CR0_PG | CR0_PE));
}

/* L1 owns PG and PE; the MOV changes bits of L2's own beside them, or none. */
static void must_keep_owned(u32 own_bits)
{
    static const struct {
        const char *field;
        const struct effect *effect;
    } shows[] = { { "effect_of_pg", &effect_pg }, { "effect_of_pe", &effect_pe } };
    for (u32 turn = 0; turn < ARRAY_SIZE(shows); turn++) {
        effect_prepare(&effect_pg, true);
        restrict_guest();
        own(&cr0, CR0_PG | CR0_PE, 0);
        u32 written = (PAGING_CR0 & ~(CR0_PG | CR0_PE)) | own_bits;
        struct shown shown = effect_after(shows[turn].effect, BY_MOV, written);
        must(shows[turn].field, shown.effect, shows[turn].effect->when_set);
        must("cr0_read", shown.read, written);
    }
}

CHECK(restricted_masked, "M-05/masked", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 in an L2 without unrestricted guest that clears PG and PE, both owned by L1 with shadow 0, executes")
{
    must_keep_owned(0);
}

CHECK(restricted_masked_beside, "M-05/masked-beside-am", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 in an L2 without unrestricted guest that clears PG and PE, owned by L1, and sets AM executes")
{
    must_keep_owned(CR0_AM);
}

CHECK(unrestricted_pg, "M-06/control-pg", NEEDS_L2, SDM_CHANGES, "Control: MOV to CR0 clears PG in an unrestricted L2")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    l2_executes(&cr0, PAGING_CR0 & ~CR0_PG);
}

CHECK(unrestricted_pe, "M-06/control-pe", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 clears PE in an unrestricted L2, and sets it in real-address mode")
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
      "MOV to CR0 with PG=1 and PE=0 in an unrestricted L2 without paging causes #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    l2_faults(&cr0, (L2_CR0 & ~CR0_PE) | CR0_PG);
}

CHECK(clears_pe_alone, "M-06/pe-with-pg", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that clears PE but not PG in an unrestricted L2 with paging causes #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    with_paging();
    l2_faults(&cr0, PAGING_CR0 & ~CR0_PE);
}

CHECK(pg_in_real_mode, "M-06/pg-in-real-mode", NEEDS_L2, SDM_EVENTS "; " SDM_CHANGES,
      "MOV to CR0 that sets PG in an unrestricted L2 in real-address mode causes #GP(0)")
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

CHECK(pg_without_lme, "M-06/control-lme", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 sets PG in an unrestricted L2 with LME=0 and PAE=0")
{
    ready_for_paging(0);
    l2_executes(&cr0, PAGING_CR0);
}

CHECK(lme_without_pae, "M-06/lme-without-pae", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that sets PG in an unrestricted L2 with LME=1 and PAE=0 causes #GP(0)")
{
    ready_for_paging(EFER_LME);
    l2_faults(&cr0, PAGING_CR0);
}

CHECK(clears_ne, "M-07/ne", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "MOV to CR0 in L2 that clears NE, which VMX operation fixes to 1, causes #GP(0)")
{
    l2_prepare(mov_to_cr0.start);
    l2_faults(&cr0, L2_CR0 & ~CR0_NE);
}

CHECK(clears_ne_in_real_mode, "M-07/real-mode", NEEDS_L2, SDM_EVENTS "; " SDM_CHANGES "; " SDM_RESTRICTIONS,
      "MOV to CR0 in an L2 in real-address mode that clears NE causes #GP")
{
    l2_prepare(mov_to_cr0.start);
    l2_real_mode();
    l2_faults(&cr0, L2_CR0 & ~(CR0_PE | CR0_NE));
}

CHECK(sets_pse, "M-08/control", NEEDS_L2, SDM_CHANGES, "Control: MOV to CR4 in L2 sets PSE and keeps VMXE")
{
    l2_prepare(mov_to_cr4.start);
    l2_executes(&cr4, L2_CR4 | CR4_PSE);
}

CHECK(clears_vmxe, "M-08/vmxe", NEEDS_L2, SDM_CHANGES "; " SDM_RESTRICTIONS,
      "MOV to CR4 in L2 that clears VMXE, which VMX operation fixes to 1, causes #GP(0)")
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

CHECK(off_clears_pg, "M-09/control", NEEDS_L2, SDM_RESTRICTIONS,
      "Control: MOV to CR0 and CR4 clears PG, NE and VMXE outside VMX operation")
{
    vmx_off();
    cr0_executes(read_cr0() & ~(CR0_PG | CR0_NE));
    must_not_fault(trap_in(mov_to_cr4_and_back, read_cr4() & ~CR4_VMXE));
    must("cr4_read", value_read & CR4_VMXE, 0);
    vmx_on_again();
}

CHECK(root_ts, "M-09/control-root", NEEDS_L2, SDM_RESTRICTIONS, "Control: MOV to CR0 sets TS in VMX root operation")
{
    guest_has_run(true);
    cr0_executes(read_cr0() | CR0_TS);
}

CHECK(root_pg, "M-09/pg", NEEDS_L2, SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG in VMX root operation causes #GP(0) after an L2 with unrestricted guest ran")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~CR0_PG);
}

CHECK(root_pg_restricted, "M-09/pg-restricted", NEEDS_L2, SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG in VMX root operation causes #GP(0) after an L2 without unrestricted guest ran")
{
    guest_has_run(false);
    cr0_faults(read_cr0() & ~CR0_PG);
}

CHECK(root_pe, "M-09/pe", NEEDS_L2, SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG and PE in VMX root operation causes #GP(0) after an L2 with unrestricted guest ran")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~(CR0_PG | CR0_PE));
}

CHECK(root_pe_restricted, "M-09/pe-restricted", NEEDS_L2, SDM_RESTRICTIONS,
      "MOV to CR0 that clears PG and PE in VMX root operation causes #GP(0) after an L2 without unrestricted guest ran")
{
    guest_has_run(false);
    cr0_faults(read_cr0() & ~(CR0_PG | CR0_PE));
}

CHECK(root_ne, "M-09/ne", NEEDS_L2, SDM_RESTRICTIONS, "MOV to CR0 that clears NE in VMX root operation causes #GP(0)")
{
    guest_has_run(true);
    cr0_faults(read_cr0() & ~CR0_NE);
}

CHECK(root_vmxe, "M-09/vmxe", NEEDS_L2, SDM_RESTRICTIONS,
      "MOV to CR4 that clears VMXE in VMX root operation causes #GP(0)")
{
    guest_has_run(true);
    must_fault(trap_in(mov_to_cr4_and_back, read_cr4() & ~CR4_VMXE), VECTOR_GP, 0, mov_to_cr4_there);
}
