/* M-10 and M-11: VMXON with values of CR0 and CR4 that VMX operation does not support. */
#include "real.h"
#include "stage.h"

#define SDM_VMXON "VMXON (Vol. 3, VMX Instruction Reference); " SDM_RESTRICTIONS

static bool entered;

static void enter(u32 argument)
{
    (void)argument;
    entered = vmx_on();
}

/* VMXON with other values in CR0 and CR4, then back to VMX operation with those that were there. */
static struct trap vmxon_with(u32 new_cr0, u32 new_cr4)
{
    u32 old_cr0 = read_cr0(), old_cr4 = read_cr4();
    entered = false;
    vmx_off();
    write_cr4(new_cr4);
    write_cr0(new_cr0);
    struct trap trap = trap_in(enter, 0);
    if (entered)
        vmx_off();
    write_cr0(old_cr0);
    write_cr4(old_cr4);
    vmx_on_again();
    return trap;
}

static void must_refuse(struct trap trap, u32 vector)
{
    must_fault(trap, vector, 0, vmxon_instruction);
    must("vmx_operation", entered, false);
}

CHECK(vmxon_as_is, "M-10/control", NEEDS_L2, SDM_VMXON, "Control: VMXON succeeds with PE, PG, NE and VMXE set")
{
    struct trap trap = vmxon_with(read_cr0(), read_cr4());
    must_not_fault(trap);
    must("vmx_operation", entered, true);
}

CHECK(vmxon_without_pg, "M-10/pg", NEEDS_L2, SDM_VMXON, "VMXON with CR0.PG=0 and PE=1 causes #GP(0)")
{
    must_refuse(vmxon_with(read_cr0() & ~CR0_PG, read_cr4()), VECTOR_GP);
}

CHECK(vmxon_without_ne, "M-11/ne", NEEDS_L2, SDM_VMXON, "VMXON with CR0.NE=0 causes #GP(0)")
{
    must_refuse(vmxon_with(read_cr0() & ~CR0_NE, read_cr4()), VECTOR_GP);
}

CHECK(vmxon_without_vmxe, "M-11/vmxe", NEEDS_L2, SDM_VMXON, "VMXON with CR4.VMXE=0 causes #UD")
{
    must_refuse(vmxon_with(read_cr0(), read_cr4() & ~CR4_VMXE), VECTOR_UD);
}

CHECK(vmxon_ne_and_vmxe, "M-11/vmxe-and-ne", NEEDS_L2, SDM_VMXON,
      "VMXON with CR4.VMXE=0 and CR0.NE=0 causes #UD, not #GP")
{
    must_refuse(vmxon_with(read_cr0() & ~CR0_NE, read_cr4() & ~CR4_VMXE), VECTOR_UD);
}

extern const char clts_in_real_mode[], vmxon_in_real_mode[];
asm(".pushsection .text\n.code16\n"
    "clts_in_real_mode:  clts\n"
    "                    movl %cr0, %eax\n"
    "                    lretw\n"
    "vmxon_in_real_mode: vmxon 0x500\n"
    "                    lretw\n"
    ".code32\n.popsection\n");

CHECK(real_mode, "M-11/control-pe", NEEDS_L2, SDM_VMXON, "Control: CLTS executes in real-address mode and clears TS")
{
    vmx_off();
    write_cr0(read_cr0() | CR0_TS);
    struct trap trap = trap_in_real(clts_in_real_mode, 0);
    write_cr0(read_cr0() & ~CR0_TS);
    must_not_fault(trap);
    must("cr0_ts", real_result() & CR0_TS, 0);
    vmx_on_again();
}

CHECK(vmxon_without_pe, "M-11/pe", NEEDS_L2, SDM_VMXON, "VMXON in real-address mode causes #UD")
{
    vmx_off();
    must_fault(trap_in_real(vmxon_in_real_mode, 0), VECTOR_UD, 0, vmxon_in_real_mode);
    vmx_on_again();
}
