# L2's own handlers of exceptions and interrupts.

#include "vectors.h"

.text
# L2's handlers, 16 bytes each, so that the address of the VMCALL gives the vector: EDX = error code, EBX = faulting
# EIP, ECX = CR2.
.macro l2_entry vector
    .balign 16
    .if PUSHES_ERROR_CODE(\vector)
    .else
    pushl $0
    .endif
    popl %edx
    popl %ebx
    movl %cr2, %ecx
    vmcall
.endm

.balign 16
.globl l2_entries
l2_entries:
.altmacro
.set number, 0
.rept 256
    l2_entry %number
    .set number, number + 1
.endr
.noaltmacro
.balign 16
.globl l2_entries_end
l2_entries_end:
