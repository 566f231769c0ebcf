#include "task.h"

#include "trap.h"

enum { EFLAGS_FIXED = 2 };

static struct tss next;

/* Not cloned: the label must be there once. */
__attribute__((noinline, noclone)) void task_switch(u32 cr3)
{
    next = (struct tss){
        .cr3 = cr3,
        .eflags = EFLAGS_FIXED,
        .cs = SELECTOR_CODE,
        .es = SELECTOR_DATA,
        .ss = SELECTOR_DATA,
        .ds = SELECTOR_DATA,
        .fs = SELECTOR_DATA,
        .gs = SELECTOR_DATA,
        .io_map = sizeof next << 16, /* none */
    };
    gdt_write(SELECTOR_TASK, tss_descriptor(&next));
    asm volatile("pushl %%ebp\n"
                 "movl %%esp, %0\n"
                 "movl $1f, %1\n"
                 ".globl task_switch_instruction\n"
                 "task_switch_instruction: ljmp %2, $0\n"
                 "1: popl %%ebp\n"
                 : "=m"(next.esp), "=m"(next.eip)
                 : "i"(SELECTOR_TASK)
                 : "eax", "ebx", "ecx", "edx", "esi", "edi", "memory", "cc");
}

void task_home(void)
{
    tss_load();
}
