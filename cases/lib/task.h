/* Hardware task switches of L1 (SDM, "Task Switching"). */
#pragma once

#include "trap.h"

struct task_switch {
    struct trap trap; /* what the switch raised; `eip` is the one of the task in which it was raised */
    bool in_new_task; /* by TR: the new task goes on, or the fault was raised in it */
};

/* Switch, by a far JMP, to a task that differs from the running one in nothing but CR3, and go on in it. A third task,
   with the old CR3, handles a fault of the switch: in the new task no segment register may be usable yet (SDM,
   "Interrupt 10 - Invalid TSS Exception (#TS)"). CR0.TS is set afterwards; TR is the kit's own again. */
struct task_switch task_switch(u32 cr3);
