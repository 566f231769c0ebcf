/* The general registers of L2, which the VMCS does not hold: their layout in memory, for C and assembly. */
#pragma once

#define L2_EAX 0
#define L2_EBX 4
#define L2_ECX 8
#define L2_EDX 12
#define L2_ESI 16
#define L2_EDI 20
#define L2_EBP 24

#ifdef __ASSEMBLER__

/* Load them from where \eax points, the register that is loaded last: %eax, or %rax in 64-bit code. Flags stay. */
.macro load_l2_registers eax
    movl L2_EBX(\eax), %ebx
    movl L2_ECX(\eax), %ecx
    movl L2_EDX(\eax), %edx
    movl L2_ESI(\eax), %esi
    movl L2_EDI(\eax), %edi
    movl L2_EBP(\eax), %ebp
    movl L2_EAX(\eax), %eax
.endm

/* Store them to where \eax points. L2's EAX was pushed before \eax was loaded, and is popped into \ecx. */
.macro store_l2_registers eax, ecx
    movl %ebx, L2_EBX(\eax)
    movl %ecx, L2_ECX(\eax)
    movl %edx, L2_EDX(\eax)
    movl %esi, L2_ESI(\eax)
    movl %edi, L2_EDI(\eax)
    movl %ebp, L2_EBP(\eax)
    pop \ecx
    movl %ecx, L2_EAX(\eax)
.endm

#else

#include "types.h"

struct general_registers {
    u32 eax, ebx, ecx, edx, esi, edi, ebp;
};
_Static_assert(offsetof(struct general_registers, eax) == L2_EAX && offsetof(struct general_registers, ebx) == L2_EBX &&
                   offsetof(struct general_registers, ecx) == L2_ECX &&
                   offsetof(struct general_registers, edx) == L2_EDX &&
                   offsetof(struct general_registers, esi) == L2_ESI &&
                   offsetof(struct general_registers, edi) == L2_EDI &&
                   offsetof(struct general_registers, ebp) == L2_EBP,
               "assembly code knows this layout");

#endif
