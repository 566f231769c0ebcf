# From CPL 0 to CPL 3. The way back is an exception: trap_entry.S.

#include "selectors.h"

#define EFLAGS_FIXED 2

.text
# void user_enter(u32 argument)
.globl user_enter
user_enter:
    movl 4(%esp), %eax
    movl %esp, tss + 4      # ESP0: the exception's frame goes below ours
    movl $SELECTOR_USER_DATA, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    pushl %ecx
    pushl $0
    pushl $EFLAGS_FIXED
    pushl $SELECTOR_USER_CODE
    pushl user_eip
    iret
