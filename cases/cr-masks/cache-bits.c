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
    noted("guest_cr0_field", L2_CR0 | field);
    note_cr0();
}

CHECK(entry_same, "M-17/control", NEEDS_L2, SDM_ENTRY,
      "Control: L2 reads CD=NW=0 when both are 0 in L1 and in the guest CR0 field")
{
    entry_keeps(0, 0);
}

CHECK(entry_cd, "M-17/entry-cd", NEEDS_L2, SDM_ENTRY, "VM entry leaves CD clear although CD=1 in the guest CR0 field")
{
    entry_keeps(0, CR0_CD);
}

CHECK(entry_cd_nw, "M-17/entry-cd-nw", NEEDS_L2, SDM_ENTRY,
      "VM entry leaves CD and NW clear although CD=NW=1 in the guest CR0 field")
{
    entry_keeps(0, CR0_CD | CR0_NW);
}

CHECK(entry_nw, "M-17/entry-nw", NEEDS_L2, SDM_ENTRY "; Checks on Guest Control Registers (Vol. 3, 27.3.1.1)",
      "VM entry does not check NW=1 with CD=0 in the guest CR0 field, and leaves NW clear")
{
    entry_keeps(0, CR0_NW);
}

CHECK(entry_keeps_cd, "M-17/entry-cd-set", NEEDS_L2, SDM_ENTRY,
      "VM entry leaves CD=1 of L1 set although CD=0 in the guest CR0 field")
{
    entry_keeps(CR0_CD, 0);
}

CHECK(entry_keeps_cd_nw, "M-17/entry-cd-nw-set", NEEDS_L2, SDM_ENTRY,
      "VM entry leaves CD=NW=1 of L1 set although both are 0 in the guest CR0 field")
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
    note_cr0();
}

CHECK(exit_same, "M-17/exit-control", NEEDS_L2, SDM_EXIT,
      "Control: L1 runs with CD=1 after a VM exit when L2 has set CD and the host CR0 field has it, too")
{
    exit_keeps(0, CR0_CD, CR0_CD);
}

CHECK(exit_cd, "M-17/exit-cd", NEEDS_L2, SDM_EXIT,
      "VM exit leaves CD, which L2 has set, although CD=0 in the host CR0 field")
{
    exit_keeps(0, CR0_CD, 0);
}

CHECK(exit_cd_nw, "M-17/exit-cd-nw", NEEDS_L2, SDM_EXIT,
      "VM exit leaves CD and NW, which L2 has set, although both are 0 in the host CR0 field")
{
    exit_keeps(0, CR0_CD | CR0_NW, 0);
}

CHECK(exit_cd_clear, "M-17/exit-cd-clear", NEEDS_L2, SDM_EXIT,
      "VM exit leaves CD clear, as L2 has cleared it, although CD=1 in the host CR0 field")
{
    exit_keeps(CR0_CD, 0, CR0_CD);
}

CHECK(entry_reserved, "M-17/reserved", NEEDS_L2, SDM_ENTRY,
      "L2 reads ET=1 and the reserved bits of CR0 as 0 although the guest CR0 field has the opposite")
{
    l2_prepare(mov_from_cr0.start);
    vmcs_write(GUEST_CR0, (L2_CR0 & ~CR0_ET) | CR0_RESERVED);
    struct vm_exit exit = l2_try(&mov_from_cr0);
    must_execute(&exit, &mov_from_cr0);
    must("l2_cr0_read", exit.registers.eax, L2_CR0);
    noted("guest_cr0_field", (L2_CR0 & ~CR0_ET) | CR0_RESERVED);
    note_cr0();
}

CHECK(exit_reserved, "M-17/exit-reserved", NEEDS_L2, SDM_EXIT,
      "VM exit leaves ET set and the reserved bits of CR0 clear although the host CR0 field has the opposite")
{
    u32 l1_cr0 = read_cr0();
    l2_prepare(mov_from_cr0.start);
    vmcs_write(HOST_CR0, (l1_cr0 & ~CR0_ET) | CR0_RESERVED);
    struct vm_exit exit = l2_try(&mov_from_cr0);
    u32 l1_cr0_then = read_cr0();
    write_cr0(l1_cr0);
    must_execute(&exit, &mov_from_cr0);
    must("l1_cr0_read", l1_cr0_then, l1_cr0);
    note_cr0();
}
