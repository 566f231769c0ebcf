# Entering and leaving L2 in 64-bit mode: see l2_long.h, and l2_entry.S for what is returned.

#define HOST_RSP 0x6C14
#define CR4_VMXE_BIT 13

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
    movl $l2_long_regions, %ecx
    movl $2, %ebx
    vmxon (%rcx)
    jbe off
    vmptrld 8(%rcx)
    jbe leave
    movl $HOST_RSP, %edx
    vmwrite %rsp, %rdx
    movl $l2_registers, %eax
    movl 4(%rax), %ebx
    movl 8(%rax), %ecx
    movl 12(%rax), %edx
    movl 16(%rax), %esi
    movl 20(%rax), %edi
    movl 24(%rax), %ebp
    movl (%rax), %eax
    vmlaunch
    movl $2, %ebx
    jc leave
    movl $1, %ebx
    jmp leave

.globl l2_long_exit
l2_long_exit:
    pushq %rcx
    movl $l2_registers, %ecx
    movl %eax, (%rcx)
    movl %ebx, 4(%rcx)
    popq %rax
    movl %eax, 8(%rcx)
    movl %edx, 12(%rcx)
    movl %esi, 16(%rcx)
    movl %edi, 20(%rcx)
    movl %ebp, 24(%rcx)
    xorl %ebx, %ebx
leave:
    movl $l2_long_regions, %ecx
    vmclear 8(%rcx)
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
