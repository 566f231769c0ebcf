# The boot sector: reads the image to 64 KiB with INT 13h extensions and enters 32-bit protected mode.

#define CHUNK 64            /* sectors a call: 32 KiB never crosses a 64 KiB boundary */
#define LOAD_SEGMENT 0x1000

.section .boot, "ax"
.code16
.globl boot_sector
boot_sector:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7C00, %sp
    ljmp $0, $1f
1:  movb %dl, drive
    sti
    movw $kit_sectors, %cx
read:
    movw $CHUNK, %ax
    cmpw %ax, %cx
    jae 1f
    movw %cx, %ax
1:  movw %ax, packet_count
    pushw %ax
    pushw %cx
    movb $0x42, %ah
    movb drive, %dl
    movw $packet, %si
    int $0x13
    jc failed
    popw %cx
    popw %ax
    subw %ax, %cx
    addw %ax, packet_lba
    shlw $5, %ax            # sectors to paragraphs
    addw %ax, packet_segment
    testw %cx, %cx
    jnz read

    movw $0x2401, %ax       # A20 on, by the firmware and by the fast gate
    int $0x15
    inb $0x92, %al
    testb $2, %al
    jnz 1f
    orb $2, %al
    andb $0xFE, %al         # bit 0 would reset the machine
    outb %al, $0x92
1:  cli
    lgdt boot_gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x08, $kit_start

failed:                     # AH = what INT 13h says of it
    movb %ah, %al
    movw $status, %di
    call digit
    call digit
    movw $message, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0E, %ah
    movw $7, %bx
    pushw %si
    int $0x10
    popw %si
    jmp 1b
2:  cli
    hlt
    jmp 2b

digit:                      # the high half of AL as a hexadecimal digit at DI
    rolb $4, %al
    movb %al, %ah
    andb $15, %ah
    cmpb $10, %ah
    jb 1f
    addb $7, %ah
1:  addb $0x30, %ah
    movb %ah, (%di)
    incw %di
    ret

message: .ascii "difftest: cannot read the disk, INT 13h status "
status: .asciz "00\r\n"
drive: .byte 0

.balign 4
packet:
    .byte 16, 0
packet_count: .word 0
    .word 0                 # offset
packet_segment: .word LOAD_SEGMENT
packet_lba: .long 1, 0

.balign 8
.globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF    # 0x08 code, flat
    .quad 0x00CF93000000FFFF    # 0x10 data, flat
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long boot_gdt

.org 510
.word 0xAA55

.section .text.start, "ax"
.code32
kit_start:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $bss_begin, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl $stack_end, %esp
    call kit_main

.section .bss
.balign 16
    .skip 16384
stack_end:
