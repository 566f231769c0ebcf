/* Hardware task switches of L1 (SDM, "Task Switching"). */
#pragma once

#include "trap.h"

struct task_switch {
    struct trap trap; /* what the switch raised; `eip` is where the task that it was raised in stood */
    bool in_new_task; /* TR: the new task is the one that goes on, or that the fault was raised in */
};

/* Switch, by a far JMP, to a task that differs from the running one in nothing but CR3, and go on in it. A fault of the switch
   is taken by a third task, with today's CR3: in the new one no segment register may be usable yet (SDM, "Interrupt 10 -
   Invalid TSS Exception (#TS)"). All this leaves CR0.TS set; TR is the kit's own again. */
struct task_switch task_switch(u32 cr3);
