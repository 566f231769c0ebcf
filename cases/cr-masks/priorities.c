/* M-03 and M-04: which comes first, VM exit or fault. */
#include "stage.h"
#include "sweep.h"

/* Values that MOV to CR0 and CR4 refuses in L2 with #GP(0). */
static const struct {
    const struct control_register *cr;
    u32 value;
} refused[] = {
    { &cr0, CR0_PG | (L2_CR0 & ~CR0_PE) },
    { &cr0, CR0_NW | L2_CR0 },
    { &cr0, L2_CR0 & ~CR0_NE },
    { &cr4, CR4_RESERVED | L2_CR4 },
    { &cr4, 0 }, /* without VMXE */
};

CHECK(refuses, "M-03/control", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 and CR4 of values that break the consistency of the registers causes #GP(0) without masks")
{
    struct sweep sweep = { 0 };
    l2_prepare(mov_to_cr0.start);
    for (u32 turn = 0; turn < ARRAY_SIZE(refused); turn++) {
        const struct l2_code *code = refused[turn].cr->mov_to;
        struct vm_exit exit = l2_try_with(code, refused[turn].value);
        bool faulted = exit.exception && exit.vector == VECTOR_GP && !exit.error_code;
        sweep_turn(&sweep, turn, faulted && exit.exception_rip == address_of(code->start), &exit, code);
    }
    must_all(&sweep, (1u << ARRAY_SIZE(refused)) - 1);
}

/* L2 writes a value that is refused, and that also differs from the shadow in the masked bit `mask`. */
static void exits_before_it_faults(u32 turn, u32 mask)
{
    const struct control_register *cr = refused[turn].cr;
    l2_prepare(cr->mov_to->start);
    own(cr, mask, ~refused[turn].value & mask);
    struct vm_exit exit = l2_try_with(cr->mov_to, refused[turn].value);
    must_exit_on(&exit, cr->mov_to, MOV_TO_CR(cr->number, EAX));
    must("cr0", exit.cr0, L2_CR0);
    must("cr4", exit.cr4, L2_CR4);
}

CHECK(pg_without_pe, "M-03/pg-without-pe", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR0 with PG=1 and PE=0 exits when a masked TS differs from its shadow")
{
    exits_before_it_faults(0, CR0_TS);
}

CHECK(nw_without_cd, "M-03/nw-without-cd", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR0 with NW=1 and CD=0 exits when a masked TS differs from its shadow")
{
    exits_before_it_faults(1, CR0_TS);
}

CHECK(clears_masked_ne, "M-03/ne", NEEDS_L2, SDM_PRIORITY, "MOV to CR0 with NE=0 exits when NE is masked with shadow 1")
{
    exits_before_it_faults(2, CR0_NE);
}

CHECK(reserved_cr4, "M-03/cr4-reserved", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR4 that sets a reserved bit exits when a masked PSE differs from its shadow")
{
    exits_before_it_faults(3, CR4_PSE);
}

CHECK(clears_masked_vmxe, "M-03/vmxe", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR4 with VMXE=0 exits when VMXE is masked with shadow 1")
{
    exits_before_it_faults(4, CR4_VMXE);
}

L2_CODE(mov_to_cr3, "movl %eax, %cr3");
L2_CODE(mov_from_cr3, "movl %cr3, %eax");
L2_CODE(clts, "clts");
L2_CODE(lmsw, "lmsw %ax");

/* The stage of M-04: with EAX = 0, each access to a control register would exit. */
static void everything_exits(void)
{
    l2_prepare(mov_to_cr0.start);
    own(&cr0, CR0_TS, CR0_TS);
    own(&cr4, CR4_PSE, CR4_PSE);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_LOAD_EXITING | CR3_STORE_EXITING,
                      "no CR3-load and CR3-store exiting");
}

CHECK(cpl0_exits, "M-04/control", NEEDS_L2, SDM_EXITS,
      "Control: MOV to CR0, CR3 and CR4, MOV from CR3, CLTS and LMSW exit at CPL 0")
{
    const struct {
        const struct l2_code *code;
        struct cr_access access;
    } turns[] = {
        { &mov_to_cr0, MOV_TO_CR(0, EAX) }, { &mov_to_cr4, MOV_TO_CR(4, EAX) }, { &mov_to_cr3, MOV_TO_CR(3, EAX) },
        { &mov_from_cr3, MOV_FROM_CR(3, EAX) }, { &clts, CLTS_ACCESS }, { &lmsw, LMSW_OF(IN_REGISTER, 0) },
    };
    struct sweep sweep = { 0 };
    everything_exits();
    for (u32 turn = 0; turn < ARRAY_SIZE(turns); turn++) {
        struct vm_exit exit = l2_try(turns[turn].code);
        sweep_turn(&sweep, turn, exited_on(&exit, turns[turn].code, turns[turn].access), &exit, turns[turn].code);
    }
    must_all(&sweep, (1u << ARRAY_SIZE(turns)) - 1);
}

static void faults_at_cpl3(const struct l2_code *code)
{
    everything_exits();
    l2_user_mode();
    struct vm_exit exit = l2_try(code);
    must_take_exception(&exit, code, VECTOR_GP, 0);
}

CHECK(cpl3_to_cr0, "M-04/mov-to-cr0", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR0 at CPL 3 that would exit at CPL 0 causes #GP(0)")
{
    faults_at_cpl3(&mov_to_cr0);
}

CHECK(cpl3_from_cr0, "M-04/mov-from-cr0", NEEDS_L2, SDM_PRIORITY,
      "MOV from CR0 at CPL 3 causes #GP(0), whatever the mask is")
{
    faults_at_cpl3(&mov_from_cr0);
}

CHECK(cpl3_to_cr4, "M-04/mov-to-cr4", NEEDS_L2, SDM_PRIORITY,
      "MOV to CR4 at CPL 3 that would exit at CPL 0 causes #GP(0)")
{
    faults_at_cpl3(&mov_to_cr4);
}

CHECK(cpl3_to_cr3, "M-04/mov-to-cr3", NEEDS_L2, SDM_PRIORITY, "MOV to CR3 at CPL 3 with CR3-load exiting causes #GP(0)")
{
    faults_at_cpl3(&mov_to_cr3);
}

CHECK(cpl3_from_cr3, "M-04/mov-from-cr3", NEEDS_L2, SDM_PRIORITY,
      "MOV from CR3 at CPL 3 with CR3-store exiting causes #GP(0)")
{
    faults_at_cpl3(&mov_from_cr3);
}

CHECK(cpl3_clts, "M-04/clts", NEEDS_L2, SDM_PRIORITY, "CLTS at CPL 3 that would exit at CPL 0 causes #GP(0)")
{
    faults_at_cpl3(&clts);
}

CHECK(cpl3_lmsw, "M-04/lmsw", NEEDS_L2, SDM_PRIORITY, "LMSW at CPL 3 that would exit at CPL 0 causes #GP(0)")
{
    faults_at_cpl3(&lmsw);
}
