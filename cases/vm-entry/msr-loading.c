/* The VM-entry MSR-load area: a bad entry fails VM entry with exit reason 34 and its number. */
#include "stage.h"

#define SDM_LOADING "Loading MSRs (Vol. 3, 27.4)"
enum { ENTRIES = 4, IA32_PAT = 0x277, IA32_FS_BASE = 0xC0000100, IA32_GS_BASE = 0xC0000101, X2APIC_FIRST = 0x800 };
enum { IA32_STAR = 0xC0000081, IA32_LSTAR = 0xC0000082, IA32_FMASK = 0xC0000084, IA32_KERNEL_GS_BASE = 0xC0000102 };

static struct entry {
    u32 index, reserved;
    u64 value;
} area[ENTRIES] __attribute__((aligned(16)));

/* MSRs that VM exit leaves alone, so that L1 sees what was loaded. */
static const u32 msrs[ENTRIES] = { IA32_STAR, IA32_LSTAR, IA32_FMASK, IA32_KERNEL_GS_BASE };
static u64 values_of_l1[ENTRIES];

static void prepare(void)
{
    entry_prepare();
    for (u32 index = 0; index < ENTRIES; index++) {
        values_of_l1[index] = read_msr(msrs[index]);
        area[index] = (struct entry){ msrs[index], 0, 0x1000 + index };
    }
    vmcs_write64(VM_ENTRY_MSR_LOAD_ADDRESS, address_of(area));
    vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, ENTRIES);
}

static void restore(void)
{
    for (u32 index = 0; index < ENTRIES; index++)
        write_msr(msrs[index], values_of_l1[index]);
}

CHECK(loaded, "E-14/control", NEEDS_L2, SDM_LOADING, "Control: VM entry loads each MSR of the VM-entry MSR-load area")
{
    struct tally tally = { 0 };
    prepare();
    u64 outcome = entry_try();
    for (u32 index = 0; index < ENTRIES; index++)
        tally_turn(&tally, msrs[index], read_msr(msrs[index]), 0x1000 + index);
    restore();
    must("outcome", outcome, ENTRY_RAN);
    must_tally(&tally);
}

/* The bad entry at each place: its number, from 1 up, is the exit qualification. */
static void must_fail_at_each_place(struct entry bad, u32 cr0)
{
    struct tally tally = { 0 };
    prepare();
    if (cr0 & CR0_PG) {
        l2_use_32_bit_paging();
        l2_turn_paging_on();
    }
    for (u32 place = 0; place < ENTRIES; place++) {
        struct entry good = area[place];
        area[place] = bad;
        tally_turn(&tally, place, entry_try(), ENTRY_FAILED(MSR_LOADING_FAILED, place + 1));
        area[place] = good;
    }
    tally_turn(&tally, ENTRIES, entry_try(), ENTRY_RAN);
    restore();
    must_tally(&tally);
}

CHECK(lme, "E-14/efer-lme", NEEDS_L2, SDM_LOADING,
      "VM entry that loads IA32_EFER with another LME while CR0.PG=1 fails with exit reason 34 and the entry's number")
{
    must_fail_at_each_place((struct entry){ IA32_EFER, 0, EFER_LME }, CR0_PG);
}

CHECK(efer, "E-14/efer-reserved", NEEDS_L2, SDM_LOADING,
      "VM entry that loads IA32_EFER with a reserved bit fails with exit reason 34 and the entry's number")
{
    must_fail_at_each_place((struct entry){ IA32_EFER, 0, (u64)1 << 63 }, 0);
}

CHECK(pat, "E-14/pat", NEEDS_L2, SDM_LOADING,
      "VM entry that loads IA32_PAT with no memory type fails with exit reason 34 and the entry's number")
{
    must_fail_at_each_place((struct entry){ IA32_PAT, 0, 2 }, 0);
}

CHECK(fs_base, "E-14/fs-base", NEEDS_L2, SDM_LOADING,
      "VM entry that loads IA32_FS_BASE from the MSR-load area fails with exit reason 34 and the entry's number")
{
    must_fail_at_each_place((struct entry){ IA32_FS_BASE, 0, 0 }, 0);
}

CHECK(gs_base, "E-14/gs-base", NEEDS_L2, SDM_LOADING,
      "VM entry that loads IA32_GS_BASE from the MSR-load area fails with exit reason 34 and the entry's number")
{
    must_fail_at_each_place((struct entry){ IA32_GS_BASE, 0, 0 }, 0);
}

CHECK(reserved, "E-14/reserved", NEEDS_L2, SDM_LOADING,
      "VM entry fails with exit reason 34 for each of bits 63:32 of an entry of the MSR-load area")
{
    struct tally tally = { 0 };
    prepare();
    for (u32 bit = 0; bit < 32; bit++) {
        area[0].reserved = 1u << bit;
        tally_turn(&tally, bit + 32, entry_try(), ENTRY_FAILED(MSR_LOADING_FAILED, 1));
    }
    area[0].reserved = 0;
    restore();
    must_tally(&tally);
}

CHECK(x2apic, "E-14/x2apic", NEEDS_L2, SDM_LOADING,
      "VM entry fails with exit reason 34 for MSRs 800H to 8FFH in the MSR-load area")
{
    struct tally tally = { 0 };
    prepare();
    for (u32 index = X2APIC_FIRST; index <= X2APIC_FIRST + 0xFF; index += 0x11) {
        area[1] = (struct entry){ index, 0, 0 };
        tally_turn(&tally, index, entry_try(), ENTRY_FAILED(MSR_LOADING_FAILED, 2));
    }
    restore();
    must_tally(&tally);
}

CHECK(earlier, "E-14/earlier-entries", NEEDS_L2, SDM_LOADING,
      "VM entry that fails at an entry of the MSR-load area loads none of those after it")
{
    prepare();
    area[1].reserved = 1;
    u64 outcome = entry_try(), before = read_msr(msrs[0]), after = read_msr(msrs[2]);
    restore();
    must("outcome", outcome, ENTRY_FAILED(MSR_LOADING_FAILED, 2));
    must("entry_after_it", after, values_of_l1[2]);
    saw("entry_before_it", before);
}
