#include "task.h"

#include "cpu.h"

enum { EFLAGS_FIXED = 2, EFLAGS_NT = 1 << 14 };
enum { SELECTOR_NEXT = SELECTOR_TASKS, SELECTOR_HANDLERS = SELECTOR_TASKS + 8 };

static const u8 vectors[] = { 8, 10, 11, 12, 13, 14 }; /* #DF, #TS, #NP, #SS, #GP, #PF: they all push an error code */
static struct tss next, handlers[ARRAY_SIZE(vectors)];
static u32 stacks[ARRAY_SIZE(vectors)][32];

static void set_task(struct tss *task, u16 selector, u32 cr3)
{
    *task = (struct tss){
        .cr3 = cr3,
        .eflags = EFLAGS_FIXED,
        .cs = SELECTOR_CODE,
        .es = SELECTOR_DATA,
        .ss = SELECTOR_DATA,
        .ds = SELECTOR_DATA,
        .fs = SELECTOR_DATA,
        .gs = SELECTOR_DATA,
        .io_map = sizeof *task << 16, /* none */
    };
    gdt_write(selector, tss_descriptor(task));
}

static u32 task_after_jump;

static void jump(u32 argument)
{
    (void)argument;
    asm volatile("pushl %%ebp\n"
                 "movl %%esp, %0\n"
                 "movl $1f, %1\n"
                 "ljmp %3, $0\n"
                 "1: popl %%ebp\n"
                 "str %%eax\n"
                 "movl %%eax, %2"
                 : "=m"(next.esp), "=m"(next.eip), "=m"(task_after_jump)
                 : "i"(SELECTOR_NEXT)
                 : "eax", "ebx", "ecx", "edx", "esi", "edi", "memory", "cc");
}

struct task_switch task_switch(u32 cr3)
{
    struct task_switch seen = { 0 };
    const struct tss *home = (const struct tss *)tss_address();
    set_task(&next, SELECTOR_NEXT, cr3);
    for (u32 index = 0; index < ARRAY_SIZE(vectors); index++) {
        u16 selector = (u16)(SELECTOR_HANDLERS + 8 * index);
        set_task(&handlers[index], selector, read_cr3());
        handlers[index].eip = trap_entry(vectors[index]);
        handlers[index].esp = address_of(&stacks[index][16]); /* the entry pops more than a task gate pushes */
        trap_by_task(vectors[index], selector);
    }
    seen.trap = trap_in(jump, 0);
    seen.in_new_task = !seen.trap.taken && (u16)task_after_jump == SELECTOR_NEXT;
    for (u32 index = 0; index < ARRAY_SIZE(vectors); index++) {
        trap_by_task(vectors[index], 0);
        if (seen.trap.taken && seen.trap.vector == vectors[index]) {
            seen.in_new_task = (u16)handlers[index].link == SELECTOR_NEXT;
            seen.trap.eip = seen.in_new_task ? next.eip : home->eip;
        }
    }
    tss_load();
    asm volatile("pushfl\nandl %0, (%%esp)\npopfl" : : "i"(~EFLAGS_NT) : "memory", "cc");
    return seen;
}
