# IA-32e mode: the call from compatibility mode into 64-bit code, and the entry points of exceptions.

#include "selectors.h"
#include "vectors.h"

.text
# void long_call(u32 unused)
.globl long_call
long_call:
    lcall $SELECTOR_CODE_64, $in_64_bit_mode
    ret

.code64
in_64_bit_mode:
    movl %esp, %esp         # upper halves of registers are undefined after a change of mode
    movl $long_body, %ecx   # a 32-bit ELF file has no relocation for an absolute address in a 64-bit instruction
    movl (%rcx), %ecx
    movl $long_argument, %eax
    movq (%rax), %rax
    call *%rcx
    movl $long_rax, %ecx
    movq %rax, (%rcx)
    lretl                   # what the far call in compatibility mode has pushed

.macro long_entry vector
    .balign 16
    .if PUSHES_ERROR_CODE(\vector)
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp long_common
.endm

.balign 16
.globl long_entries
long_entries:
.altmacro
.set number, 0
.rept 32
    long_entry %number
    .set number, number + 1
.endr
.noaltmacro

long_common:                # vector, error code, RIP, CS, RFLAGS, RSP, SS: 8 bytes each
    cld
    movl $trap_seen, %ecx
    popq %rax
    movl %eax, 4(%rcx)
    popq %rax
    movl %eax, 8(%rcx)
    popq %rax
    movl %eax, 12(%rcx)
    movq %cr2, %rax
    movq %rax, 16(%rcx)
    movb $1, (%rcx)
    movl $to_trap_end, %ecx
    ljmpl *(%rcx)

.section .rodata
to_trap_end:
    .long trap_end
    .word SELECTOR_CODE
