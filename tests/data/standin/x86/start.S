/* Multiboot leaves protected mode with flat segments, whose table is gone; paging is off. */
.section .init
	.long 0x1BADB002, 0, -0x1BADB002
.globl start
start:
	mov $stack_end, %esp
	lgdt descriptor
	ljmp $8, $1f
1:	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	push $command_line
	push %ebx
	call setup
	push command_line
	call take_words
	call __setup_args
	call reset_apic
	call enable_x2apic
	push $0
	push $__argv
	push __argc
	call main
	push %eax
	call exit

.data
.balign 8
table:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
descriptor:
	.word descriptor - table - 1
	.long table
command_line:
	.long 0

.bss
	.skip 16384
stack_end:
