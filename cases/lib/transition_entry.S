# From no paging to a vector's state, the instruction, and back. What happens is kept in `transition_out` as soon as the
# instruction is done or has faulted; all memory that is written lies in pages that the state maps writable.

#include "selectors.h"
#include "vectors.h"

#define IN_CR0 transition_in
#define IN_CR4 transition_in + 4
#define IN_CR4_LATE transition_in + 8
#define IN_CR3 transition_in + 12
#define IN_64_BIT_MODE transition_in + 16
#define IN_HIGH transition_in + 20
#define IN_EDITS transition_in + 24
#define IN_PROBES transition_in + 28
#define IN_INSTRUCTION transition_in + 32
#define IN_OPERAND transition_in + 40
#define IN_BEFORE transition_in + 48
#define IN_AFTER transition_in + 80
#define IN_IDT transition_in + 112
#define IN_GDT transition_in + 118
#define IN_LOW_GDT transition_in + 124
#define OUT_CR0 transition_out
#define OUT_CR4 transition_out + 8
#define OUT_EFER transition_out + 16
#define OUT_CR3 transition_out + 24
#define OUT_STATUS transition_out + 32
#define OUT_EIP transition_out + 36
#define OUT_PROBES transition_out + 40
#define OUT_CAPTURED transition_out + 56

#define IA32_EFER 0xC0000080
#define EFER_LMA_BIT 10
#define CR0_PG_BIT 31
#define CR4_PAE_BIT 5
#define CR4_PCIDE_BIT 17
#define PROBED (4 << 21)
#define PDPTE_DWORDS 8

.text
# void transition_go(void)
.globl transition_go
transition_go:
    pushal
    movl %esp, home_esp
    movl %cr0, %eax
    movl %eax, home_cr0
    movl $0, resume
    movl IN_CR4, %eax
    movl %cr4, %ecx
    cmpl %eax, %ecx
    je 1f
    movl %eax, %cr4
1:  movl IN_CR3, %eax
    movl %eax, %cr3
    movl IN_CR0, %eax
    movl %eax, %cr0
    jmp 1f                  # the state is there: what comes now is fetched in it
1:  lidt IN_IDT
    movl IN_CR4_LATE, %eax
    testl %eax, %eax
    jz 1f
    movl %eax, %cr4
1:  cmpl $0, IN_64_BIT_MODE
    jne to_64_bit_mode
    cmpl $0, IN_HIGH
    je 1f
    ljmp $SELECTOR_HIGH_CODE, $in_high_segments
in_high_segments:
    movl $SELECTOR_HIGH_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    lgdt IN_GDT
1:  cmpl $0, IN_EDITS
    je 1f
    movl $IN_AFTER, %esi
    movl $transition_tables, %edi
    movl $PDPTE_DWORDS, %ecx
    rep movsl
1:  movl IN_OPERAND, %eax
    movl IN_OPERAND + 4, %edx
    movl $IA32_EFER, %ecx
    jmp *IN_INSTRUCTION

.macro instruction name, code:vararg
    .globl transition_\name
transition_\name:
    \code
    jmp landed
.endm
instruction mov_cr0, movl %eax, %cr0
instruction mov_cr4, movl %eax, %cr4
instruction mov_cr3, movl %eax, %cr3
instruction wrmsr, wrmsr
instruction lmsw, lmsw %ax
instruction clts, clts

landed:
    xorl %esi, %esi
    xorl %edi, %edi
capture:                    # status in ESI, EIP in EDI
    movl $1, OUT_CAPTURED
    movl %esi, OUT_STATUS
    movl %edi, OUT_EIP
    movl %cr0, %ebx
    movl %ebx, OUT_CR0
    movl %cr4, %ebp
    movl %ebp, OUT_CR4
    movl %cr3, %eax
    movl %eax, OUT_CR3
    movl $IA32_EFER, %ecx
    rdmsr
    movl %eax, OUT_EFER
    movl %edx, OUT_EFER + 4
    cmpl $0, IN_PROBES
    je restore
    btl $CR0_PG_BIT, %ebx
    jnc restore
    btl $CR4_PAE_BIT, %ebp
    jnc restore
    btl $EFER_LMA_BIT, %eax
    jc restore
    xorl %ebx, %ebx
probe:                      # FS has base 0 in the high segments, too
    movl $probed, resume
    movl %ebx, %eax
    shll $30, %eax
    movl %fs:PROBED(%eax), %eax
probed:
    movl %eax, OUT_PROBES(, %ebx, 4)
    incl %ebx
    cmpl $4, %ebx
    jne probe
    movl $0, resume

restore:
    cmpl $0, IN_EDITS
    je home
    movl $IN_BEFORE, %esi
    movl $transition_tables, %edi
    movl $PDPTE_DWORDS, %ecx
    rep movsl
    movl IN_CR3, %eax
    movl %eax, %cr3
    cmpl $0, IN_HIGH
    je home
    ljmp $SELECTOR_CODE, $1f
1:  movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
home:
    movl OUT_CR4, %eax
    btrl $CR4_PCIDE_BIT, %eax
    jnc 1f
    movl %eax, %cr4         # clearing CR0.PG would fault with it
1:  movl home_cr0, %eax
    movl %eax, %cr0
    jmp 1f
1:  movl home_esp, %esp
    lgdt IN_LOW_GDT
    popal
    ret

.macro entry vector
    .balign 16
    .if PUSHES_ERROR_CODE(\vector)
    .else
    pushl $0
    .endif
    pushl $\vector
    jmp taken
.endm

.balign 16
.globl transition_entries
transition_entries:
.altmacro
.set number, 0
.rept 32
    entry %number
    .set number, number + 1
.endr
.noaltmacro

taken:                      # vector, error code, EIP
    popl %esi
    popl %eax
    popl %edi
    movl home_esp, %esp
    shll $16, %esi
    movzwl %ax, %eax
    orl %eax, %esi
    orl $0x80000000, %esi
    movl resume, %edx
    testl %edx, %edx
    jnz 1f
    cmpl $0, OUT_CAPTURED
    je capture
lost:                       # the state is not what it must be: nothing more can be said
    cli
    hlt
    jmp lost
1:  movl %esi, %eax
    jmp *%edx

to_64_bit_mode:
    ljmp $SELECTOR_CODE_64, $in_64_bit_mode
.code64
in_64_bit_mode:
    movl %esp, %esp         # upper halves of registers are undefined after a change of mode
    movl $IN_OPERAND, %ecx  # a 32-bit ELF file has no relocation for an absolute address in a 64-bit instruction
    movq (%rcx), %rax
    movq %rax, %rdx
    shrq $32, %rdx
    movl $IN_INSTRUCTION, %ecx
    movl (%rcx), %ebx
    movl $IA32_EFER, %ecx
    jmp *%rbx

.macro instruction_64 name, code:vararg
    .globl transition_\name\()_64
transition_\name\()_64:
    \code
    jmp landed_64
.endm
instruction_64 mov_cr0, movq %rax, %cr0
instruction_64 mov_cr4, movq %rax, %cr4
instruction_64 mov_cr3, movq %rax, %cr3
instruction_64 wrmsr, wrmsr
instruction_64 lmsw, lmsw %ax
instruction_64 clts, clts

landed_64:
    xorl %esi, %esi
    xorl %edi, %edi
capture_64:
    movl $transition_out, %ebx
    movl $1, 56(%rbx)
    movl %esi, 32(%rbx)
    movl %edi, 36(%rbx)
    movq %cr0, %rax
    movq %rax, (%rbx)
    movq %cr4, %rax
    movq %rax, 8(%rbx)
    movq %cr3, %rax
    movq %rax, 24(%rbx)
    movl $IA32_EFER, %ecx
    rdmsr
    movl %eax, 16(%rbx)
    movl %edx, 20(%rbx)
    movl $to_home, %ecx
    ljmpl *(%rcx)

.macro entry_64 vector
    .balign 16
    .if PUSHES_ERROR_CODE(\vector)
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp taken_64
.endm

.balign 16
.globl transition_entries_64
transition_entries_64:
.altmacro
.set number, 0
.rept 32
    entry_64 %number
    .set number, number + 1
.endr
.noaltmacro

taken_64:
    popq %rsi
    popq %rax
    popq %rdi
    shll $16, %esi
    movzwl %ax, %eax
    orl %eax, %esi
    orl $0x80000000, %esi
    movl $home_esp, %ecx
    movl (%rcx), %esp
    movl $transition_out, %ebx
    cmpl $0, 56(%rbx)
    je capture_64
    movl $to_lost, %ecx
    ljmpl *(%rcx)

.code32
.section .rodata
to_home:
    .long home
    .word SELECTOR_CODE
to_lost:
    .long lost
    .word SELECTOR_CODE

.section .bss
.balign 4
home_esp: .skip 4
home_cr0: .skip 4
resume: .skip 4
