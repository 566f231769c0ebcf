/* The VM-exit MSR areas: what is stored of L2, and what is loaded for L1. */
#include "state.h"

enum { COUNT = 3, IA32_FMASK = 0xC0000084 };
static const u32 msrs[COUNT] = { IA32_STAR, IA32_LSTAR, IA32_FMASK };
L2_CODE(pass, "nop");

static struct entry {
    u32 index, reserved;
    u64 value;
} areas[3][COUNT] __attribute__((aligned(16)));
enum { LOADED_BY_ENTRY, STORED, LOADED_BY_EXIT };

CHECK(areas_used, "E-37/msr-areas", NEEDS_L2, "Saving MSRs (Vol. 3, 28.4); Loading MSRs (Vol. 3, 28.6)",
      "VM exit stores each MSR of L2 in the VM-exit MSR-store area, and loads each of the VM-exit MSR-load area")
{
    u64 before[COUNT], after[COUNT];
    struct tally tally = { 0 };
    l2_prepare(pass.start);
    for (u32 index = 0; index < COUNT; index++) {
        before[index] = read_msr(msrs[index]);
        for (u32 area = LOADED_BY_ENTRY; area <= LOADED_BY_EXIT; area++)
            areas[area][index] = (struct entry){ msrs[index], 0, 0x1000 * (area + 1) + index };
    }
    vmcs_write64(VM_ENTRY_MSR_LOAD_ADDRESS, address_of(areas[LOADED_BY_ENTRY]));
    vmcs_write64(VM_EXIT_MSR_STORE_ADDRESS, address_of(areas[STORED]));
    vmcs_write64(VM_EXIT_MSR_LOAD_ADDRESS, address_of(areas[LOADED_BY_EXIT]));
    vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, COUNT);
    vmcs_write(VM_EXIT_MSR_STORE_COUNT, COUNT);
    vmcs_write(VM_EXIT_MSR_LOAD_COUNT, COUNT);
    struct vm_exit exit = l2_try(&pass);
    for (u32 index = 0; index < COUNT; index++) {
        after[index] = read_msr(msrs[index]);
        write_msr(msrs[index], before[index]);
    }
    for (u32 index = 0; index < COUNT; index++) {
        tally_turn(&tally, msrs[index], areas[STORED][index].value, 0x1000 + index);
        tally_turn(&tally, msrs[index], after[index], 0x3000 + index);
    }
    must_tally(&tally);
    must_execute(&exit, &pass);
}
