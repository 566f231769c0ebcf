/* RDMSR and WRMSR of L2, by the MSR bitmaps. */
#include "msr_bitmap.h"

#include "check.h"
#include "l2.h"
#include "l2_code.h"
#include "tally.h"
#include "vmx.h"

#define BITMAPS "MSR-Bitmap Address (Vol. 3, 25.6.9)"

enum { IA32_SYSENTER_ESP = 0x175 };

L2_CODE(rdmsr, "rdmsr");
L2_CODE(wrmsr, "wrmsr");

static const u32 in_ranges[] = { 0,          7,          8,          0x174,      0x175,      0x277,      0x1FFF,
                                 0x48,       0x808,      0x80B,      0x83F,      0xC0000000, 0xC0000007,
                                 0xC0000008, 0xC0000082, 0xC0000100, 0xC0000101, 0xC0000102, 0xC0001FFF };

static u32 reason_of(const struct l2_code *code, u32 msr)
{
    l2_registers = (struct general_registers){ .ecx = msr };
    return l2_try(code).reason;
}

CHECK(reads, "msr/reads", NEEDS_L2, BITMAPS,
      "RDMSR in L2 exits at an MSR whose read bit alone is set, and not at its neighbours, in both ranges")
{
    static const u32 neighbours[] = { 1, 8, 0x400 };
    struct tally tally = { 0 };
    l2_prepare(NULL);
    msr_bitmap_use();
    for (u32 index = 0; index < ARRAY_SIZE(in_ranges); index++) {
        u32 msr = in_ranges[index];
        msr_bitmap_set(msr, MSR_READ, true);
        tally_turn(&tally, msr, reason_of(&rdmsr, msr), EXIT_RDMSR);
        for (u32 other = 0; other < ARRAY_SIZE(neighbours); other++) /* it reads, or faults in L2 */
            tally_turn(&tally, msr ^ neighbours[other], reason_of(&rdmsr, msr ^ neighbours[other]), EXIT_VMCALL);
        msr_bitmap_set(msr, MSR_READ, false);
    }
    must_tally(&tally);
}

CHECK(writes, "msr/writes", NEEDS_L2, BITMAPS,
      "WRMSR in L2 exits at an MSR whose write bit alone is set, where RDMSR does not, in both ranges")
{
    struct tally tally = { 0 };
    l2_prepare(NULL);
    msr_bitmap_use();
    for (u32 index = 0; index < ARRAY_SIZE(in_ranges); index++) {
        u32 msr = in_ranges[index];
        msr_bitmap_set(msr, MSR_WRITE, true);
        tally_turn(&tally, msr, reason_of(&wrmsr, msr), EXIT_WRMSR);
        tally_turn(&tally, (u64)1 << 32 | msr, reason_of(&rdmsr, msr), EXIT_VMCALL);
        msr_bitmap_set(msr, MSR_WRITE, false);
    }
    must_tally(&tally);
}

CHECK(read_bit, "msr/read-bit-and-wrmsr", NEEDS_L2, BITMAPS,
      "WRMSR in L2 executes at an MSR whose read bit alone is set, and L2 reads back what it wrote")
{
    l2_prepare(NULL);
    msr_bitmap_use();
    msr_bitmap_set(IA32_SYSENTER_ESP, MSR_READ, true);
    l2_registers.ecx = IA32_SYSENTER_ESP;
    l2_registers.eax = 0x1234;
    struct vm_exit exit = l2_try(&wrmsr);
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("guest_ia32_sysenter_esp", vmcs_read(GUEST_IA32_SYSENTER_ESP), 0x1234);
    must_execute(&exit, &wrmsr);
}

CHECK(outside, "msr/outside", NEEDS_L2, BITMAPS,
      "RDMSR and WRMSR in L2 exit at each MSR outside the two ranges of the bitmaps, which are clear")
{
    static const u32 msrs[] = { 0x2000, 0x40000000, 0xBFFFFFFF, 0xC0002000, 0xC0010000, 0xFFFFFFFF };
    struct tally tally = { 0 };
    l2_prepare(NULL);
    msr_bitmap_use();
    for (u32 index = 0; index < ARRAY_SIZE(msrs); index++) {
        tally_turn(&tally, msrs[index], reason_of(&rdmsr, msrs[index]), EXIT_RDMSR);
        tally_turn(&tally, (u64)1 << 32 | msrs[index], reason_of(&wrmsr, msrs[index]), EXIT_WRMSR);
    }
    must_tally(&tally);
}

CHECK(no_bitmaps, "msr/no-bitmaps", NEEDS_L2, BITMAPS,
      "RDMSR and WRMSR in L2 exit at each MSR when L1 uses no MSR bitmaps")
{
    struct tally tally = { 0 };
    l2_prepare(NULL);
    for (u32 index = 0; index < ARRAY_SIZE(in_ranges); index++) {
        tally_turn(&tally, in_ranges[index], reason_of(&rdmsr, in_ranges[index]), EXIT_RDMSR);
        tally_turn(&tally, (u64)1 << 32 | in_ranges[index], reason_of(&wrmsr, in_ranges[index]), EXIT_WRMSR);
    }
    must_tally(&tally);
}

CHECK(length, "msr/length", NEEDS_L2, "VM-Exit Instruction Length (Vol. 3, 28.2.5)",
      "RDMSR in L2 exits with instruction length 2 and its registers as they were")
{
    l2_prepare(rdmsr.start);
    l2_registers = (struct general_registers){ .eax = 1, .ecx = IA32_SYSENTER_ESP, .edx = 2 };
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_RDMSR);
    must("instruction_length", exit.instruction_length, 2);
    must("exit_qualification", exit.qualification, 0);
    must("eax", exit.registers.eax, 1);
    must("edx", exit.registers.edx, 2);
    must_stop_at(&exit, rdmsr.start);
    saw_exit(&exit, rdmsr.start);
}
