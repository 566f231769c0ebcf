# The appliance's boot sector. Asks the firmware for the memory map, reads kernel, initramfs and boot parameters to where they
# belong, enters long mode and jumps to the kernel, as the Linux x86 64-bit boot protocol wants it.
#
# It reads the disks itself, by programmed I/O straight to the final address: Bochs moves a whole page for each REP INSW, so
# this costs almost no emulated instructions. What to read stands in a table on the second disk (see linuxboot.py): entries of
# four words: device select byte, first sector, number of sectors (0 ends the table), physical address.

#define BOOT_PARAMS     0x100000
#define E820_COUNT      (BOOT_PARAMS + 0x1E8)
#define E820_TABLE      (BOOT_PARAMS + 0x2D0)
#define KERNEL_ENTRY    0x101FF8
#define PAGE_TABLES     0x102000
#define MAP_BUFFER      0x8000
#define LOAD_TABLE      0x7E00
#define MOST_ENTRIES    64
#define SMAP            0x534D4150
#define ATA             0x1F0
#define SECOND_DISK     0xF0

.section .text, "ax"
.code16
.globl _start
_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7C00, %sp
    ljmp $0, $1f
1:  movw $MAP_BUFFER, %di
    xorl %ebx, %ebx
    xorw %bp, %bp
2:  movl $0xE820, %eax
    movl $SMAP, %edx
    movl $20, %ecx
    int $0x15
    jc 3f
    cmpl $SMAP, %eax
    jne 3f
    addw $20, %di
    incw %bp
    cmpw $MOST_ENTRIES, %bp
    je 3f
    testl %ebx, %ebx
    jnz 2b
3:  cli
    inb $0x92, %al
    orb $2, %al
    andb $0xFE, %al
    outb %al, $0x92
    lgdt gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x08, $protected

.code32
protected:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x3F6, %dx
    movb $2, %al
    outb %al, %dx                   # no disk interrupts
    movl $0x7000, %esp

    movl $table_entry, %esi         # the table itself is read by the first entry
4:  movl 8(%esi), %ecx
    jecxz 5f
    movl 4(%esi), %ebx
    movl 12(%esi), %edi
    call read
    addl $16, %esi
    cmpl $table_entry + 16, %esi
    jne 4b
    movl $LOAD_TABLE, %esi
    jmp 4b

5:  movzwl %bp, %ecx
    movb %cl, E820_COUNT
    leal (%ecx, %ecx, 4), %ecx      # 20 bytes are five words
    movl $MAP_BUFFER, %esi
    movl $E820_TABLE, %edi
    rep movsl
    movl $0x20, %eax                # CR4.PAE
    movl %eax, %cr4
    movl $PAGE_TABLES, %eax
    movl %eax, %cr3
    movl $0xC0000080, %ecx          # IA32_EFER.LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80000001, %eax          # PG and PE; the caches on
    movl %eax, %cr0
    ljmp $0x10, $long_mode

# Read ECX sectors from sector EBX of the device that the entry at ESI names to EDI, at most 128 with one command.
read:
    pushl %ecx
    cmpl $128, %ecx
    jbe 1f
    movl $128, %ecx
1:  movl %ebx, %eax                 # LBA bits 27:24 go beside the device
    shrl $24, %eax
    orb (%esi), %al
    movw $(ATA + 6), %dx
    outb %al, %dx
    movw $(ATA + 2), %dx
    movb %cl, %al
    outb %al, %dx
    incl %edx
    movl %ebx, %eax
    outb %al, %dx
    incl %edx
    movb %ah, %al
    outb %al, %dx
    incl %edx
    shrl $16, %eax
    outb %al, %dx
    movw $(ATA + 7), %dx
    movb $0x20, %al                 # READ SECTORS
    outb %al, %dx
    addl %ecx, %ebx
    pushl %ecx
3:  pushl %ecx
    movw $(ATA + 7), %dx
4:  inb %dx, %al
    andb $0x88, %al
    cmpb $0x08, %al                 # not busy, and data are there
    jne 4b
    movw $ATA, %dx
    movl $256, %ecx
    rep insw
    popl %ecx
    loop 3b
    popl %eax
    popl %ecx
    subl %eax, %ecx
    jnz read
    ret

.code64
long_mode:
    movl $BOOT_PARAMS, %esi
    jmp *KERNEL_ENTRY

.balign 8
gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF        # 0x08 32-bit code
    .quad 0x00AF9B000000FFFF        # 0x10 64-bit code, the protocol's __BOOT_CS
    .quad 0x00CF93000000FFFF        # 0x18 data, the protocol's __BOOT_DS
gdt_pointer:
    .word . - gdt - 1
    .long gdt

.balign 4
table_entry:
    .long SECOND_DISK, 0, 1, LOAD_TABLE

.org 510
.word 0xAA55
