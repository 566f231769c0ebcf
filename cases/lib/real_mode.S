# To real-address mode and back. kit.ld puts this file's code first, at the start of SEGMENT.

#define SEGMENT 0x1000
#define OFFSET(symbol) (symbol - real_mode_begin)
#define STACK 0x7C00        /* in segment 0: free memory below the boot sector */
#define CODE_32 0x08
#define DATA_32 0x10
#define CODE_16 0x18
#define DATA_16 0x20
#define NO_VECTOR 0xFFFF

.section .text.real, "ax"
.code32

.globl real_mode_begin
real_mode_begin:
# u64 real_mode_call(const char *code): AX = vector or NO_VECTOR, EDX = address of the instruction that faulted.
.globl real_mode_call
real_mode_call:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl 20(%esp), %edi
    movl %esp, caller_esp
    movl %cr0, %eax
    movl %eax, caller_cr0
    sgdt caller_gdt
    sidt caller_idt
    lgdt gdt_pointer
    lidt ivt_pointer
    andl $0x7FFFFFFF, %eax
    movl %eax, %cr0         # paging off: all is identity-mapped
    ljmp $CODE_16, $OFFSET(1f)
.code16
1:  movw $DATA_16, %cx      # limits of 64 KiB, as real-address mode has them
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %ss
    andb $0xFE, %al
    movl %eax, %cr0
    ljmp $SEGMENT, $OFFSET(1f)
1:  xorw %cx, %cx
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %ss
    movl $STACK, %esp
    subl $(SEGMENT << 4), %edi
    call *%di
    movw $NO_VECTOR, %ax
    xorl %edx, %edx
    jmp back

took:                       # vector, IP, CS, FLAGS
    popw %ax
    xorl %edx, %edx
    popw %dx
    addl $(SEGMENT << 4), %edx
back:
    movl %cr0, %ecx
    orb $1, %cl
    movl %ecx, %cr0
    ljmpl $CODE_32, $1f
.code32
1:  movw $DATA_32, %cx
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %ss
    movw %cx, %fs
    movw %cx, %gs
    movl caller_esp, %esp
    lgdt caller_gdt
    lidt caller_idt
    movl caller_cr0, %ecx
    andl $0x80000000, %ecx
    movl %cr0, %ebx         # the code may have changed other bits
    orl %ecx, %ebx
    movl %ebx, %cr0         # paging on again, if it was
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

.code16
.balign 8
entries:
.set number, 0
.rept 32
    .balign 8
    pushw $number
    jmp took
    .set number, number + 1
.endr

.balign 4
ivt:
.set number, 0
.rept 32
    .word OFFSET(entries) + 8 * number, SEGMENT
    .set number, number + 1
.endr
ivt_pointer:
    .word . - ivt - 1
    .long ivt

.balign 8
gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF    # CODE_32, flat
    .quad 0x00CF93000000FFFF    # DATA_32, flat
    .quad 0x00009B010000FFFF    # CODE_16, at SEGMENT
    .quad 0x000093000000FFFF    # DATA_16, at 0
gdt_pointer:
    .word . - gdt - 1
    .long gdt

.section .bss
.balign 8
caller_gdt: .skip 8
caller_idt: .skip 8
caller_esp: .skip 4
caller_cr0: .skip 4
