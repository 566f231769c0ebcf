#include "state.h"

volatile struct state l2_state;
static u8 bitmaps[PAGE_SIZE] PAGE_ALIGNED;

_Static_assert(offsetof(struct state, selectors) == 20 && offsetof(struct state, ldtr) == 44 &&
                   offsetof(struct state, gdtr) == 52 && offsetof(struct state, idtr) == 58 &&
                   offsetof(struct state, fs_word) == 68,
               "assembly code knows this layout");

L2_CODE(observe_all, "movl %cr0, %eax; movl %eax, l2_state\n"
                     "movl %cr3, %eax; movl %eax, l2_state + 4\n"
                     "movl %cr4, %eax; movl %eax, l2_state + 8\n"
                     "movl %dr7, %eax; movl %eax, l2_state + 12\n"
                     "pushfl; popl l2_state + 16\n"
                     "movl %es, %eax; movl %eax, l2_state + 20\n"
                     "movl %cs, %eax; movl %eax, l2_state + 24\n"
                     "movl %ss, %eax; movl %eax, l2_state + 28\n"
                     "movl %ds, %eax; movl %eax, l2_state + 32\n"
                     "movl %fs, %eax; movl %eax, l2_state + 36\n"
                     "movl %gs, %eax; movl %eax, l2_state + 40\n"
                     "sldt %eax; movl %eax, l2_state + 44\n"
                     "str %eax; movl %eax, l2_state + 48\n"
                     "sgdt l2_state + 52\n"
                     "sidt l2_state + 58\n"
                     "movl %fs:0, %eax; movl %eax, l2_state + 68\n"
                     "movl %gs:0, %eax; movl %eax, l2_state + 72");
L2_CODE(rdmsr_of_ecx, "rdmsr");
L2_CODE(wrmsr_of_ecx, "wrmsr");

void observe_prepare(void)
{
    l2_prepare(observe_all.start);
}

void observe(void)
{
    struct vm_exit exit = l2_try(&observe_all);
    must_execute(&exit, &observe_all);
}

void prepare_with_msrs(void)
{
    l2_prepare(rdmsr_of_ecx.start);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, USE_MSR_BITMAPS, "no MSR bitmaps");
    vmcs_write64(MSR_BITMAPS_ADDRESS, address_of(bitmaps));
}

u64 msr_of_l2(u32 index)
{
    l2_registers.ecx = index;
    struct vm_exit exit = l2_try(&rdmsr_of_ecx);
    if (!executed(&exit, &rdmsr_of_ecx))
        wrong("RDMSR in L2 does not execute");
    return (u64)exit.registers.edx << 32 | exit.registers.eax;
}

void write_msr_of_l2(u32 index, u64 value)
{
    l2_registers.ecx = index;
    l2_registers.eax = (u32)value;
    l2_registers.edx = (u32)(value >> 32);
    struct vm_exit exit = l2_try(&wrmsr_of_ecx);
    if (!executed(&exit, &wrmsr_of_ecx))
        wrong("WRMSR in L2 does not execute");
}
