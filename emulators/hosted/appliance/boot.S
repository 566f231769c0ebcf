# The appliance's boot sector. Asks the firmware for the memory map, reads kernel, initramfs and boot parameters to where they
# belong, enters long mode and jumps to the kernel, as the Linux x86 64-bit boot protocol wants it.
#
# The disks are read by bus-master DMA straight to the final addresses: Bochs then moves the data itself, and the CPU only halts
# until the disk's interrupt. What to read stands in a script on the second disk (see linuxboot.py), fetched through the
# firmware: commands of four words (physical address of the region table, device select byte, first sector, number of
# sectors; the first word 0 ends them), and the region tables that the IDE controller reads.

#define BOOT_PARAMS     0x100000
#define E820_COUNT      (BOOT_PARAMS + 0x1E8)
#define E820_TABLE      (BOOT_PARAMS + 0x2D0)
#define KERNEL_ENTRY    0x101FF8
#define PAGE_TABLES     0x102000
#define MAP_BUFFER      0x8000
#define IDT             0x6000
#define SCRIPT          0x10000
#define SCRIPT_SECTORS  120
#define MOST_ENTRIES    64
#define SMAP            0x534D4150
#define ATA             0x1F0
#define DISK_VECTOR     0x76            /* where the firmware leaves IRQ 14 */
#define PCI_ADDRESS     0xCF8
#define IDE             0x80000900      /* bus 0, device 1, function 1: the PIIX3's IDE controller */

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
3:  movw $script_packet, %si
    movb $0x42, %ah                 # extended read
    movb $0x81, %dl
    int $0x13
    movb $'D', %al
    jc complain
    cli
    inb $0x92, %al
    orb $2, %al
    andb $0xFE, %al
    outb %al, $0x92
    lgdt gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x08, $protected

complain:                           # one letter on COM1, and stay
    movw $0x3F8, %dx
    outb %al, %dx
    cli
    hlt

.code32
protected:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x7000, %esp

    movl $(IDE + 0x04), %eax        # command register: I/O space and bus master on
    movw $PCI_ADDRESS, %dx
    outl %eax, %dx
    movb $0xFC, %dl
    inl %dx, %eax
    orb $5, %al
    outl %eax, %dx
    movl $(IDE + 0x20), %eax        # where the bus-master registers are
    movb $0xF8, %dl
    outl %eax, %dx
    movb $0xFC, %dl
    inl %dx, %eax
    andl $0xFFF0, %eax
    movl %eax, %edi
    movl $(0x80000 + disk_ready), IDT + 8 * DISK_VECTOR
    movl $0x8E00, IDT + 8 * DISK_VECTOR + 4
    lidt idt_pointer
    movb $0xFB, %al                 # of all interrupts the cascade and the disk
    outb %al, $0x21
    movb $0xBF, %al
    outb %al, $0xA1
    sti
    movl $SCRIPT, %esi
4:  lodsl
    testl %eax, %eax
    jz 5f
    call read
    jmp 4b

5:  cli
    movb $0xFF, %al
    outb %al, $0x21
    outb %al, $0xA1
    movzwl %bp, %ecx
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

# Run one command: region table at EAX, the rest at ESI; EDI is the bus-master register base.
read:
    leal 4(%edi), %edx
    outl %eax, %dx
    movl %edi, %edx
    movb $8, %al                    # from disk to memory
    outb %al, %dx
    addl $2, %edx
    movb $6, %al                    # clear what was reported before
    outb %al, %dx
    lodsl
    movw $(ATA + 6), %dx
    outb %al, %dx
    lodsl
    movl %eax, %ebx                 # first sector
    lodsl
    movw $(ATA + 2), %dx            # each register takes the high byte first
    xchgb %al, %ah
    outb %al, %dx
    movb %ah, %al
    outb %al, %dx
    incl %edx
    roll $8, %ebx                   # sector bits 31:24, then 7:0
    movb %bl, %al
    outb %al, %dx
    movb %bh, %al
    outb %al, %dx
    shrl $16, %ebx
    incl %edx
    xorl %eax, %eax
    outb %al, %dx
    movb %bl, %al
    outb %al, %dx
    incl %edx
    xorl %eax, %eax
    outb %al, %dx
    movb %bh, %al
    outb %al, %dx
    movw $(ATA + 7), %dx
    movb $0x25, %al                 # READ DMA EXT
    outb %al, %dx
    movl %edi, %edx
    movb $9, %al                    # start
    outb %al, %dx
    addl $2, %edx
1:  hlt
    inb %dx, %al
    testb $4, %al
    jz 1b
    testb $2, %al
    movb $'R', %al
    jnz complain
    movl %edi, %edx
    xorl %eax, %eax
    outb %al, %dx
    ret

disk_ready:
    pushl %eax
    pushl %edx
    movw $(ATA + 7), %dx
    inb %dx, %al
    movb $0x20, %al
    outb %al, $0xA0
    outb %al, $0x20
    popl %edx
    popl %eax
    iretl

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

idt_pointer:
    .word 8 * 256 - 1
    .long IDT

.balign 4
script_packet:
    .byte 16, 0
    .word SCRIPT_SECTORS, 0, SCRIPT >> 4
    .quad 0

.org 510
.word 0xAA55
