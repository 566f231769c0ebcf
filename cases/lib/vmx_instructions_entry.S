# VM entry and exit in 32-bit and in 64-bit code, and the other VMX instructions in 64-bit code.

#include "l2_registers.h"
#include "selectors.h"

#define HOST_RSP 0x6C14

.text
# u32 vm_enter(u32 resume, struct general_registers *): the flags, which are clear after a VM exit.
.globl vm_enter
vm_enter:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl $HOST_RSP, %edx
    vmwrite %esp, %edx
    movl 24(%esp), %eax
    cmpl $0, 20(%esp)
    load_l2_registers %eax
    jne 1f
    vmlaunch
    jmp refused
1:  vmresume
refused:
    pushfl
    popl %eax
    jmp leave

.globl vm_exit_entry
vm_exit_entry:
    pushl %eax
    movl 28(%esp), %eax
    store_l2_registers %eax, %ecx
    xorl %eax, %eax
leave:
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

# u32 vm_enter_64(u32 resume, struct general_registers *): the same, called from 32-bit code in compatibility mode.
.globl vm_enter_64
vm_enter_64:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    lcall $SELECTOR_CODE_64, $enter_in_64_bit_mode
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

.code64
enter_in_64_bit_mode:           # below RSP: EIP, CS, EDI, ESI, EBX, EBP, the return address, then the arguments
    movl %esp, %esp             # upper halves of registers are undefined after a change of mode
    movl $HOST_RSP, %edx
    vmwrite %rsp, %rdx
    movl 32(%rsp), %eax
    cmpl $0, 28(%rsp)
    load_l2_registers %rax
    jne 1f
    vmlaunch
    jmp refused_64
1:  vmresume
refused_64:
    pushfq
    popq %rax
    lretl

.globl vm_exit_entry_64
vm_exit_entry_64:
    pushq %rax
    movl 40(%rsp), %eax
    store_l2_registers %rax, %rcx
    xorl %eax, %eax
    lretl

# u32 vmx_call_64(const char *routine, u32 first, u32 second)
.code32
.globl vmx_call_64
vmx_call_64:
    movl 4(%esp), %ecx
    movl 8(%esp), %eax
    movl 12(%esp), %edx
    lcall $SELECTOR_CODE_64, $call_in_64_bit_mode
    ret

.code64
call_in_64_bit_mode:
    movl %esp, %esp
    movl %eax, %eax
    movl %edx, %edx
    movl %ecx, %ecx
    call *%rcx
    pushfq
    popq %rax
    lretl

.macro routine name, instruction:vararg
.globl \name
\name:
    \instruction
    ret
.endm
routine vmxon_64, vmxon (%rdx)
routine vmxoff_64, vmxoff
routine vmclear_64, vmclear (%rdx)
routine vmptrld_64, vmptrld (%rdx)
routine vmptrst_64, vmptrst (%rdx)
routine invept_64, invept (%rdx), %rax
routine invvpid_64, invvpid (%rdx), %rax
.globl vmread_64, vmwrite_64
vmread_64:
    vmread %rax, %rcx
    movq %rcx, (%rdx)
    ret
vmwrite_64:
    movq (%rdx), %rcx
    vmwrite %rcx, %rax
    ret
