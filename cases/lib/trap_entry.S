# Entry points of the 32 exceptions, and the guarded call that comes back from one.

#include "selectors.h"
#include "vectors.h"

.text
.macro entry vector
    .balign 16
    .if PUSHES_ERROR_CODE(\vector)
    .else
    pushl $0                # this exception pushes no error code
    .endif
    pushl $\vector
    jmp trap_common
.endm

.balign 16
.globl trap_entries
trap_entries:
.altmacro
.set number, 0
.rept 32
    entry %number
    .set number, number + 1
.endr
.noaltmacro

trap_common:                # vector, error code, EIP, CS, EFLAGS
    cld
    popl trap_seen + 4
    popl trap_seen + 8
    popl %eax
    movl %eax, trap_seen + 12
    movl %cr2, %eax
    movl %eax, trap_seen + 16
    movb $1, trap_seen
# Exceptions in other modes come here, too (long_entry.S, real_entry.S), with `trap_seen` written and our code segment.
.globl trap_end
trap_end:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    cmpl $0, guard
    je trap_unexpected
    movl guard, %esp
    jmp unguard

# void trap_guard(void (*body)(u32 argument), u32 argument)
.globl trap_guard
trap_guard:
    movl 4(%esp), %eax
    movl 8(%esp), %edx
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl guard
    pushl %edx
    movl %esp, guard
    call *%eax
unguard:
    popl %edx
    popl guard
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

.section .bss
.balign 4
guard: .skip 4
