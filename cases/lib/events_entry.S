# Handlers of interrupts and NMIs in L1, which return: 256 entry points, 16 bytes each.

.text
.macro event_entry vector
    .balign 16
    pushl $\vector
    jmp event_common
.endm

.balign 16
.globl event_entries
event_entries:
.altmacro
.set number, 0
.rept 256
    event_entry %number
    .set number, number + 1
.endr
.noaltmacro

event_common:               # EAX, ECX, EDX, vector, EIP, CS, EFLAGS
    pushl %edx
    pushl %ecx
    pushl %eax
    cld
    pushl 16(%esp)
    pushl 16(%esp)
    call event_taken
    addl $8, %esp
    popl %eax
    popl %ecx
    popl %edx
    addl $4, %esp
    iret
