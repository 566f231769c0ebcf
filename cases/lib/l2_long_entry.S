# Entering and leaving L2 in 64-bit mode: see l2_long.h, and l2_entry.S for what is returned.

#include "l2_registers.h"

#define HOST_RSP 0x6C14
#define CR4_VMXE_BIT 13

# Offsets in l2_long_stage.
#define VMXON_REGION 0
#define VMCS_REGION 8
#define REGISTERS 16

.text
.code64
.globl l2_long_body
l2_long_body:
    pushq %rbx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    movq %cr4, %rax
    btsq $CR4_VMXE_BIT, %rax
    movq %rax, %cr4
    movl $l2_long_stage, %ecx
    movl $2, %ebx
    vmxon VMXON_REGION(%rcx)
    jbe off
    vmptrld VMCS_REGION(%rcx)
    jbe leave
    movl $HOST_RSP, %edx
    vmwrite %rsp, %rdx
    movl REGISTERS(%rcx), %eax
    load_l2_registers %rax
    vmlaunch
    movl $2, %ebx
    jc leave
    movl $1, %ebx
    jmp leave

.globl l2_long_exit
l2_long_exit:
    pushq %rax
    movl $l2_long_stage, %eax
    movl REGISTERS(%rax), %eax
    store_l2_registers %rax, %rcx
    xorl %ebx, %ebx
leave:
    movl $l2_long_stage, %ecx
    vmclear VMCS_REGION(%rcx)
    vmxoff
off:
    movq %cr4, %rax
    btrq $CR4_VMXE_BIT, %rax
    movq %rax, %cr4
    movl %ebx, %eax
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rbx
    ret
