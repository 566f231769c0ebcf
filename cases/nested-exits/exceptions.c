/* The exception bitmap, and the error-code mask and match of page faults. */
#include "check.h"
#include "cpu.h"
#include "l2.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "tally.h"
#include "vmx.h"

#define BITMAP "Exception Bitmap (Vol. 3, 25.6.3)"

enum { DE, DB, BP = 3, OF, BR, AC = 17 };
enum { HARDWARE = 3, SOFTWARE = 6, ERROR_CODE_VALID = 1 << 11, ABSENT = 0x40000000 };
#define VALID (1u << 31)

L2_CODE(divide, "divl %ecx");
L2_CODE(int3, "int3");
L2_CODE(into, "into");
L2_CODE(bound, "boundl %edx, (%ebx)");
L2_CODE(ud2, "ud2");
L2_CODE(fninit, "fninit");
L2_CODE(load_ds, "movl %eax, %ds");
L2_CODE(load_ss, "movl %eax, %ss");

static const struct {
    const struct l2_code *code;
    u32 vector, type, length;
} exceptions[] = {
    { &divide, DE, HARDWARE, 0 },         { &int3, BP, SOFTWARE, 1 },
    { &into, OF, SOFTWARE, 1 },           { &bound, BR, HARDWARE, 0 },
    { &ud2, VECTOR_UD, HARDWARE, 0 },     { &fninit, VECTOR_NM, HARDWARE, 0 },
    { &load_ds, VECTOR_GP, HARDWARE, 0 }, { &load_ss, VECTOR_GP, HARDWARE, 0 },
};

static u32 bounds[2];

static struct vm_exit raise(u32 index, u32 bitmap)
{
    l2_prepare(NULL);
    vmcs_write(EXCEPTION_BITMAP, bitmap);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_TS);
    vmcs_write(GUEST_RFLAGS, 2 | 1 << 11);
    l2_registers.eax = 0x428;
    l2_registers.ebx = address_of(bounds);
    l2_registers.edx = 1;
    return l2_try(exceptions[index].code);
}

CHECK(exits, "exceptions/exit", NEEDS_L2, BITMAP,
      "Each exception of L2 whose bit alone is set in the exception bitmap exits, with its interruption information")
{
    struct tally tally = { 0 };
    for (u32 index = 0; index < ARRAY_SIZE(exceptions); index++) {
        u32 vector = exceptions[index].vector;
        bool code = exceptions[index].type == HARDWARE && PUSHES_ERROR_CODE(vector);
        struct vm_exit exit = raise(index, 1u << vector);
        u64 required = VALID | (code ? ERROR_CODE_VALID : 0) | exceptions[index].type << 8 | vector;
        tally_turn(&tally, index << 8 | vector, exit.interruption_information, required);
        tally_turn(&tally, index << 8 | vector | 0x10000, rip_offset(&exit, exceptions[index].code->start), 0);
        if (exceptions[index].length)
            tally_turn(&tally, index << 8 | vector | 0x20000, exit.instruction_length, exceptions[index].length);
        if (code)
            tally_turn(&tally, index << 8 | vector | 0x30000, exit.interruption_error_code, 0x428);
    }
    must_tally(&tally);
}

CHECK(stays, "exceptions/stay", NEEDS_L2, BITMAP,
      "Each exception of L2 whose bit alone is clear in the exception bitmap goes to L2's own handler")
{
    struct tally tally = { 0 };
    for (u32 index = 0; index < ARRAY_SIZE(exceptions); index++) {
        u32 vector = exceptions[index].vector;
        struct vm_exit exit = raise(index, ~(1u << vector));
        tally_turn(&tally, index << 8 | vector, (u64)exit.reason << 32 | exit.vector, (u64)EXIT_VMCALL << 32 | vector);
    }
    must_tally(&tally);
}

/* Page faults: one with error code E exits when bit 14 is set and E & mask == match, or when it is clear and they
   differ. */
L2_CODE(load, "movl (%ebx), %eax");
L2_CODE(store, "movl %eax, (%ebx)");

static struct vm_exit fault(const struct l2_code *code, bool protection, u32 bit, u32 mask, u32 match)
{
    l2_prepare(code->start);
    l2_use_32_bit_paging();
    l2_tables.directory[ABSENT >> 22] = protection ? PTE_LARGE | PTE_PRESENT : 0;
    l2_turn_paging_on();
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_WP);
    l2_registers.ebx = ABSENT + 8;
    vmcs_write(EXCEPTION_BITMAP, bit << VECTOR_PF);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, mask);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, match);
    return l2_run();
}

CHECK(page_faults, "exceptions/page-fault-mask-match", NEEDS_L2, BITMAP,
      "A #PF of L2 exits by bit 14 of the exception bitmap and by the error code's mask and match, in each combination")
{
    static const struct {
        const struct l2_code *code;
        bool protection;
        u32 error_code;
    } faults[] = { { &load, false, 0 }, { &store, false, 2 }, { &store, true, 3 } };
    struct tally tally = { 0 };
    for (u32 kind = 0; kind < ARRAY_SIZE(faults); kind++)
        for (u32 turn = 0; turn < 32; turn++) {
            u32 bit = turn & 1, mask = turn >> 1 & 3, match = turn >> 3 & 3;
            struct vm_exit exit = fault(faults[kind].code, faults[kind].protection, bit, mask, match);
            bool exits = ((faults[kind].error_code & mask) == match) == !!bit;
            u64 required = (u64)(exits ? EXIT_EXCEPTION_OR_NMI : EXIT_VMCALL) << 32 | VECTOR_PF << 8;
            tally_turn(&tally, kind << 8 | turn, (u64)exit.reason << 32 | exit.vector << 8 | exit.error_code,
                       required | faults[kind].error_code);
        }
    must_tally(&tally);
}

CHECK(page_fault, "exceptions/page-fault", NEEDS_L2, "Exit Qualification for Page Faults (Vol. 3, 28.2.1)",
      "A #PF of L2 that exits has its linear address as exit qualification, and leaves CR2 of L1 alone")
{
    enum { CR2 = 0x1234 };
    asm volatile("movl %0, %%cr2" : : "r"(CR2));
    struct vm_exit exit = fault(&store, true, 1, 0, 0);
    must("cr2", read_cr2(), CR2);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_qualification", exit.qualification, ABSENT + 8);
    must("error_code", exit.error_code, PF_WRITE | PF_PRESENT);
    must_stop_at(&exit, store.start);
    noted("cr2_of_l1", read_cr2());
}

/* A task switch of L2 always exits. */
L2_CODE(jump_to_tss, "ljmp $0x48, $0");

CHECK(task_switch, "exceptions/task-switch", NEEDS_L2, "Exit Qualification for Task Switches (Vol. 3, 28.2.1)",
      "A far jump of L2 to a TSS exits with the selector and the kind of switch in the exit qualification")
{
    enum { TSS = 0x48, FAR_JUMP = 2 };
    static struct tss other;
    gdt_write(TSS, tss_descriptor(&other));
    l2_prepare(jump_to_tss.start);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_TASK_SWITCH);
    must("exit_qualification", exit.qualification, (u64)FAR_JUMP << 30 | TSS);
    must("instruction_length", exit.instruction_length, 7);
    must_stop_at(&exit, jump_to_tss.start);
    saw_exit(&exit, jump_to_tss.start);
}
