# What stands in for the image on the disk while an appliance is made ready to be saved: a boot sector that waits in HLT where the
# firmware hands over, until an NMI wakes it. By then the image lies on the disk, and its boot sector is read and entered as
# the firmware would have: same registers, same stack, same flags, at 0000:7C00.

#define ENTRY   0x7C00
#define HOME    0x600                   /* free memory behind the BIOS data area; wiped up to the last few instructions */

.section .text, "ax"
.code16
.globl _start
_start:                                 # linked at HOME, run at ENTRY up to the jump
    pushfw
    pushal
    pushw %ds
    pushw %es
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    cld
    movw $ENTRY, %si
    movw $HOME, %di
    movw $256, %cx
    rep movsw
    ljmp $0, $1f
1:  cli
    hlt
    movw $0x0201, %ax                   # read one sector: cylinder 0, head 0, sector 1 of the drive in DL
    movw $0x0001, %cx
    movb $0, %dh
    movw $ENTRY, %bx
    int $0x13
    jc 2f
    xorw %ax, %ax
    movw $HOME, %di
    movw $(3f - HOME), %cx
3:  rep stosb
    popw %es
    popw %ds
    popal
    popfw
    ljmp $0, $ENTRY
2:  int $0x18                           # no bootable device

.org 510
.word 0xAA55
