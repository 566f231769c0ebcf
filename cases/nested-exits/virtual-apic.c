/* The TPR shadow, its threshold, exits for CR8, and the APIC-access page. */
#include "apic.h"
#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "l1_mode.h"
#include "l2.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "tally.h"
#include "vmx.h"

#define CR8_ACCESSES "Instructions That Cause VM Exits Conditionally (Vol. 3, 26.1.3)"
#define SHADOW "Virtualizing CR8-Based TPR Accesses (Vol. 3, 30.3)"
#define THRESHOLD "VM Exits Induced by the TPR Threshold (Vol. 3, 27.7.7); TPR Virtualization (30.1.2)"
#define APIC_ACCESS "Virtualizing Memory-Mapped APIC Accesses (Vol. 3, 30.4)"
#define PRIMARY PRIMARY_PROCESSOR_BASED_CONTROLS

enum { TASK_PRIORITY = 0x80 }; /* offset in the virtual-APIC page and in the APIC-access page */
static u8 virtual_apic[PAGE_SIZE] PAGE_ALIGNED, access_page[PAGE_SIZE] PAGE_ALIGNED;

L2_CODE(load_cr8, ".code64; mov %rax, %cr8; .code32");
L2_CODE(store_cr8, ".code64; mov %cr8, %rdx; .code32");
L2_CODE(both_cr8, ".code64; mov %rax, %cr8; mov %cr8, %rdx; .code32");

static void in_64_bit_mode(const struct l2_code *code, u32 controls)
{
    l2_prepare(code->start);
    l2_use_4_level_paging();
    l2_start_in_64_bit_mode();
    vmcs_clear_controls(PRIMARY, (CR8_LOAD_EXITING | CR8_STORE_EXITING) & ~controls, "exits for CR8 are fixed to 1");
    vmcs_set_controls(PRIMARY, controls, "no exits for CR8, or no TPR shadow");
    for (u32 offset = 0; offset < PAGE_SIZE; offset++)
        virtual_apic[offset] = 0;
    vmcs_write64(VIRTUAL_APIC_ADDRESS, address_of(virtual_apic));
    vmcs_write(TPR_THRESHOLD, 0);
}

static void must_exit_for_cr8(const struct l2_code *code, u64 qualification)
{
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_CONTROL_REGISTER_ACCESS);
    must("exit_qualification", exit.qualification, qualification);
    must_stop_at(&exit, code->start);
    saw_exit(&exit, code->start);
}

CHECK(load_exits, "exits/mov-to-cr8", NEEDS_L2, CR8_ACCESSES, "MOV to CR8 in L2 exits when its control is set")
{
    in_64_bit_mode(&load_cr8, CR8_LOAD_EXITING);
    must_exit_for_cr8(&load_cr8, 8);
}

CHECK(store_exits, "exits/mov-from-cr8", NEEDS_L2, CR8_ACCESSES, "MOV from CR8 in L2 exits when its control is set")
{
    in_64_bit_mode(&store_cr8, CR8_STORE_EXITING);
    must_exit_for_cr8(&store_cr8, 2 << 8 | 1 << 4 | 8);
}

CHECK(load_exits_shadow, "exits/mov-to-cr8-with-tpr-shadow", NEEDS_L2, CR8_ACCESSES,
      "MOV to CR8 in L2 exits when its control is set, also with a TPR shadow, which stays")
{
    in_64_bit_mode(&load_cr8, CR8_LOAD_EXITING | USE_TPR_SHADOW);
    l2_registers.eax = 5;
    must_exit_for_cr8(&load_cr8, 8);
    must("virtual_tpr", virtual_apic[TASK_PRIORITY], 0);
}

CHECK(shadow, "tpr-shadow/cr8", NEEDS_L2, SHADOW,
      "MOV to CR8 in L2 with a TPR shadow writes the virtual TPR, and MOV from CR8 reads it")
{
    in_64_bit_mode(&both_cr8, USE_TPR_SHADOW);
    l2_registers.eax = 5;
    struct vm_exit exit = l2_run();
    must("edx", exit.registers.edx, 5);
    must("virtual_tpr", virtual_apic[TASK_PRIORITY], 5 << 4);
    must_execute(&exit, &both_cr8);
}

CHECK(shadow_read, "tpr-shadow/read", NEEDS_L2, SHADOW,
      "MOV from CR8 in L2 with a TPR shadow reads bits 7:4 of what L1 wrote to the virtual TPR")
{
    in_64_bit_mode(&store_cr8, USE_TPR_SHADOW);
    virtual_apic[TASK_PRIORITY] = 0xA7;
    struct vm_exit exit = l2_run();
    must("edx", exit.registers.edx, 0xA);
    must_execute(&exit, &store_cr8);
}

CHECK(own_tpr, "tpr-shadow/none", NEEDS_L2, "Task Priority in IA-32e Mode (Vol. 3, 11.8.6)",
      "MOV to CR8 in L2 without exits and without a TPR shadow writes the TPR of the local APIC, which L1 sees, too")
{
    in_64_bit_mode(&both_cr8, 0);
    l2_registers.eax = 5;
    struct vm_exit exit = l2_run();
    u32 tpr = apic_read(APIC_TPR);
    apic_write(APIC_TPR, 0);
    must("edx", exit.registers.edx, 5);
    must("tpr", tpr, 5 << 4);
    must("virtual_tpr", virtual_apic[TASK_PRIORITY], 0);
    must_execute(&exit, &both_cr8);
}

/* MOV to CR8 lowers the virtual TPR below the threshold: a trap-like exit, with RIP after the instruction. */
CHECK(threshold, "tpr-shadow/threshold", NEEDS_L2, THRESHOLD,
      "MOV to CR8 that puts the virtual TPR below the TPR threshold exits after the instruction, and others do not")
{
    struct tally tally = { 0 };
    for (u32 value = 0; value < 16; value++) {
        in_64_bit_mode(&load_cr8, USE_TPR_SHADOW);
        virtual_apic[TASK_PRIORITY] = 0xF0;
        vmcs_write(TPR_THRESHOLD, 9);
        l2_registers.eax = value;
        struct vm_exit exit = l2_run();
        tally_turn(&tally, value, exit.reason, value < 9 ? EXIT_TPR_BELOW_THRESHOLD : EXIT_VMCALL);
        tally_turn(&tally, value | 0x10, rip_offset(&exit, load_cr8.end), 0);
        tally_turn(&tally, value | 0x20, virtual_apic[TASK_PRIORITY], value << 4);
    }
    must_tally(&tally);
}

/* APIC accesses: linear ones exit with the offset and the kind of access. */
L2_CODE(reads, "movl (%ebx), %eax");
L2_CODE(writes, "movl %eax, (%ebx)");

static void with_access_page(const struct l2_code *code, u32 offset)
{
    l2_prepare(code->start);
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, VIRTUALIZE_APIC_ACCESSES, "no virtualized APIC accesses");
    vmcs_write64(APIC_ACCESS_ADDRESS, address_of(access_page));
    l2_registers.ebx = address_of(access_page) + offset;
}

CHECK(apic_read, "apic-access/read", NEEDS_L2, APIC_ACCESS,
      "A read of the APIC-access page in L2 exits with the offset and access type 0 in the exit qualification")
{
    with_access_page(&reads, 0x120);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_APIC_ACCESS);
    must("exit_qualification", exit.qualification & 0xFFFF, 0x120);
    must_stop_at(&exit, reads.start);
}

CHECK(apic_write, "apic-access/write", NEEDS_L2, APIC_ACCESS,
      "A write to the APIC-access page in L2 exits with the offset and access type 1, and writes nothing")
{
    with_access_page(&writes, 0xB0);
    access_page[0xB0] = 0x5A;
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_APIC_ACCESS);
    must("exit_qualification", exit.qualification & 0xFFFF, 1 << 12 | 0xB0);
    must("byte", access_page[0xB0], 0x5A);
    must_stop_at(&exit, writes.start);
}

CHECK(apic_tpr, "apic-access/tpr", NEEDS_L2, APIC_ACCESS,
      "With a TPR shadow a read of offset 80H of the APIC-access page gives the virtual TPR and causes no exit")
{
    with_access_page(&reads, TASK_PRIORITY);
    vmcs_set_controls(PRIMARY, USE_TPR_SHADOW, "no TPR shadow");
    vmcs_write64(VIRTUAL_APIC_ADDRESS, address_of(virtual_apic));
    vmcs_write(TPR_THRESHOLD, 0);
    virtual_apic[TASK_PRIORITY] = 0x70;
    struct vm_exit exit = l2_run();
    must("eax", exit.registers.eax, 0x70);
    must_execute(&exit, &reads);
}

CHECK(apic_elsewhere, "apic-access/not-enabled", NEEDS_L2, APIC_ACCESS,
      "Control: a read of that page executes when APIC accesses are not virtualized")
{
    l2_prepare(reads.start);
    vmcs_write64(APIC_ACCESS_ADDRESS, address_of(access_page));
    l2_registers.ebx = address_of(access_page) + 0x120;
    struct vm_exit exit = l2_run();
    must_execute(&exit, &reads);
}
