# Entering and leaving L2, and L2's own exception handlers.

#include "l2_registers.h"
#include "vectors.h"

#define HOST_RSP 0x6C14

.text
# u32 vm_enter(struct general_registers *, bool resume): 0 after a VM exit; 1 when there is a VM-instruction error; 2
# when not even that could be stored (no current VMCS).
.globl vm_enter
vm_enter:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $HOST_RSP, %edx
    vmwrite %esp, %edx
    movl 20(%esp), %eax
    cmpl $0, 24(%esp)
    load_l2_registers %eax
    jne 1f
    vmlaunch
    jmp refused
1:  vmresume
refused:
    movl $2, %eax
    jc leave
    movl $1, %eax
    jmp leave

.globl vm_exit_entry
vm_exit_entry:
    pushl %eax
    movl 24(%esp), %eax
    store_l2_registers %eax, %ecx
    xorl %eax, %eax
leave:
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

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
.rept 32
    l2_entry %number
    .set number, number + 1
.endr
.noaltmacro
.balign 16
.globl l2_entries_end
l2_entries_end:
