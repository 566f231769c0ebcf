/* Hardware task switches of L1 (SDM, "Task Switching"). */
#pragma once

#include "types.h"

/* For `trap_in`: a far JMP to a task that differs from the running one in nothing but CR3. It returns here, in the new task. */
void task_switch(u32 cr3);
extern const char task_switch_instruction[];

/* Be the kit's own task again, whether the switch succeeded or faulted half-way. CR0.TS, which every switch sets, and CR3
   are left as they are: `mode_leave` restores them. */
void task_home(void);
