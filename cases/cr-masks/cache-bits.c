/* M-17: VM entry and VM exit leave CD, NW, ET and the reserved bits of CR0 as they are, whatever the VMCS says. */
#include "stage.h"

#define SDM_ENTRY "Loading Guest Control Registers, Debug Registers, and MSRs (Vol. 3, 27.3.2.1)"
#define SDM_EXIT "Loading Host Control Registers, Debug Registers, MSRs (Vol. 3, 28.5.1)"
#define CACHE_BITS (CR0_CD | CR0_NW)
#define CR0_RESERVED 0x1FFAFFC0

/* With these of CD and NW in L1, enter L2 to read CR0, the guest CR0 field having `field`. VM entry must not have
   changed them, and VM exit neither. */
static void entry_keeps(u32 l1_bits, u32 field)
{
    u32 l1_cr0 = read_cr0();
    write_cr0((l1_cr0 & ~CACHE_BITS) | l1_bits);
    l2_prepare(mov_from_cr0.start);
    vmcs_write(GUEST_CR0, L2_CR0 | field);
    struct vm_exit exit = l2_try(&mov_from_cr0);
    u32 l1_cr0_then = read_cr0();
    write_cr0(l1_cr0);
    must_execute(&exit, &mov_from_cr0);
    must("l2_cr0_read", exit.registers.eax, L2_CR0 | l1_bits);
    must("cr0", exit.cr0, L2_CR0 | l1_bits);
    must("l1_cr0_cd_nw", l1_cr0_then & CACHE_BITS, l1_bits);
}

CHECK(entry_same, "M-17/control", NEEDS_L2, SDM_ENTRY, "control: CD and NW are 0 in L1 and in the VMCS, and L2 reads 0")
{
    entry_keeps(0, 0);
}

CHECK(entry_cd, "M-17/entry-cd", NEEDS_L2, SDM_ENTRY, "CD=1 in the guest CR0 field, 0 in L1: L2 runs with CD=0")
{
    entry_keeps(0, CR0_CD);
}

CHECK(entry_cd_nw, "M-17/entry-cd-nw", NEEDS_L2, SDM_ENTRY, "CD=NW=1 in the guest CR0 field, 0 in L1: L2 runs with CD=NW=0")
{
    entry_keeps(0, CR0_CD | CR0_NW);
}

CHECK(entry_nw, "M-17/entry-nw", NEEDS_L2, SDM_ENTRY "; Checks on Guest Control Registers (Vol. 3, 27.3.1.1)",
      "NW=1 without CD in the guest CR0 field is not checked: L2 runs with NW=0")
{
    entry_keeps(0, CR0_NW);
}

CHECK(entry_keeps_cd, "M-17/entry-cd-set", NEEDS_L2, SDM_ENTRY, "CD=1 in L1, 0 in the guest CR0 field: L2 runs with CD=1")
{
    entry_keeps(CR0_CD, 0);
}

CHECK(entry_keeps_cd_nw, "M-17/entry-cd-nw-set", NEEDS_L2, SDM_ENTRY,
      "CD=NW=1 in L1, 0 in the guest CR0 field: L2 runs with CD=NW=1")
{
    entry_keeps(CR0_CD | CR0_NW, 0);
}

/* L2 changes CD and NW by MOV to CR0. VM exit must leave them so, whatever the host CR0 field says. */
static void exit_keeps(u32 l1_bits, u32 l2_bits, u32 host_field)
{
    u32 l1_cr0 = read_cr0();
    write_cr0((l1_cr0 & ~CACHE_BITS) | l1_bits);
    l2_prepare(mov_to_cr0.start);
    vmcs_write(GUEST_CR0, L2_CR0 | l1_bits);
    vmcs_write(HOST_CR0, (l1_cr0 & ~CACHE_BITS) | host_field);
    struct vm_exit exit = l2_try_with(&mov_to_cr0, L2_CR0 | l2_bits);
    u32 l1_cr0_then = read_cr0();
    write_cr0(l1_cr0);
    must_execute(&exit, &mov_to_cr0);
    must("cr0", exit.cr0, L2_CR0 | l2_bits);
    must("l1_cr0_cd_nw", l1_cr0_then & CACHE_BITS, l2_bits);
}

CHECK(exit_same, "M-17/exit-control", NEEDS_L2, SDM_EXIT,
      "control: L2 sets CD, the host CR0 field has it too, L1 has CD=1 after the exit")
{
    exit_keeps(0, CR0_CD, CR0_CD);
}

CHECK(exit_cd, "M-17/exit-cd", NEEDS_L2, SDM_EXIT, "L2 sets CD, the host CR0 field has CD=0: L1 has CD=1 after the exit")
{
    exit_keeps(0, CR0_CD, 0);
}

CHECK(exit_cd_nw, "M-17/exit-cd-nw", NEEDS_L2, SDM_EXIT,
      "L2 sets CD and NW, the host CR0 field has 0: L1 has CD=NW=1 after the exit")
{
    exit_keeps(0, CR0_CD | CR0_NW, 0);
}

CHECK(exit_cd_clear, "M-17/exit-cd-clear", NEEDS_L2, SDM_EXIT,
      "CD=1 in L1, L2 clears it, the host CR0 field has CD=1: L1 has CD=0 after the exit")
{
    exit_keeps(CR0_CD, 0, CR0_CD);
}

CHECK(entry_reserved, "M-17/reserved", NEEDS_L2, SDM_ENTRY,
      "ET=0 and the reserved bits 1 in the guest CR0 field: L2 reads ET=1, reserved bits 0")
{
    l2_prepare(mov_from_cr0.start);
    vmcs_write(GUEST_CR0, (L2_CR0 & ~CR0_ET) | CR0_RESERVED);
    struct vm_exit exit = l2_try(&mov_from_cr0);
    must_execute(&exit, &mov_from_cr0);
    must("l2_cr0_read", exit.registers.eax, L2_CR0);
}
