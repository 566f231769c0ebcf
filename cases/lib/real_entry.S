# Real-address mode: the way there, its exceptions, and the way back. Data lies above 64 KiB; the segment registers keep
# their limits of protected mode, so that it can be accessed.

#include "selectors.h"

#define CR0_PE 1

.text
# void real_call(u32 argument): paging is off, SELECTOR_SPARE is 16-bit code at `real_code`
.globl real_call
real_call:
    movl 4(%esp), %eax
    movl %eax, argument
    movl %esp, home_esp
    sidt home_idt
    movl %cr0, %eax
    movl %eax, home_cr0
    andl $~CR0_PE, %eax
    lidt real_idt
    movl $real_start, %edx
    ljmp $SELECTOR_SPARE, $to_real_mode - real_code

.code16
.balign 16
.globl real_code
real_code:
to_real_mode:
    movl %eax, %cr0
    ljmpw *(%edx)           # CS is a real-mode segment from here on
.globl in_real_mode
in_real_mode:
    movl $argument, %edx
    movl (%edx), %eax
    movl $real_body, %edx
    lcallw *(%edx)
    movl $real_eax, %edx
    movl %eax, (%edx)
    movl $back, %ecx
    jmp to_protected_mode

to_protected_mode:          # and to ECX
    movl $home_cr0, %edx
    movl (%edx), %eax
    movl %eax, %cr0
    ljmpl $SELECTOR_CODE, $1f
.code32
1:  lidt home_idt
    jmp *%ecx
back:
    movl home_esp, %esp
    ret

.code16
.balign 16
.globl real_entries
real_entries:
.set number, 0
.rept 32
    .balign 16
    movb $number, %al
    jmp real_common
    .set number, number + 1
.endr

real_common:                # IP, CS and FLAGS: 2 bytes each
    cld
    movzbl %al, %eax
    movl $trap_seen, %edx
    movl %eax, 4(%edx)
    xorl %eax, %eax
    movl %eax, 8(%edx)
    popw %ax
    xorl %ecx, %ecx
    popw %cx
    shll $4, %ecx
    addl %ecx, %eax
    movl %eax, 12(%edx)
    movb $1, (%edx)
    movl $trap_end, %ecx
    jmp to_protected_mode

.section .bss
.balign 4
argument: .skip 4
home_esp: .skip 4
home_cr0: .skip 4
home_idt: .skip 8
