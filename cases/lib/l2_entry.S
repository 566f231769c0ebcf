# Entering and leaving L2, and L2's own exception handlers.

#define HOST_RSP 0x6C14

.text
# u32 vm_enter(u32 *eax): 0 after a VM exit, with L2's EAX stored; 1 when VMLAUNCH failed
.globl vm_enter
vm_enter:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $HOST_RSP, %edx
    vmwrite %esp, %edx
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    xorl %ebp, %ebp
    vmlaunch
    movl $1, %eax
    jmp leave

.globl vm_exit_entry
vm_exit_entry:
    movl 20(%esp), %ecx
    movl %eax, (%ecx)
    movl %edx, 4(%ecx)
    movl %ebx, 8(%ecx)
    xorl %eax, %eax
leave:
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

# L2's handlers: EAX = marker and vector, EDX = error code, EBX = faulting EIP, then VMCALL.
.macro l2_entry vector
    .balign 16
    .if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21 || \vector == 29 || \vector == 30
    .else
    pushl $0
    .endif
    popl %edx
    popl %ebx
    movl $(0xE0000000 + \vector), %eax
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
