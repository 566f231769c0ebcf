"""Boot sectors for tests, assembled on the spot: each does one thing that a guest may do to a tester."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

# Prints the bytes at `message` up to a 0xFF on COM1, as a driver should: waiting for the transmitter.
PRINT = """
    xorw %ax, %ax
    movw %ax, %ds
    movw $message, %si
1:  movw $0x3FD, %dx
2:  inb %dx, %al
    testb $0x20, %al
    jz 2b
    lodsb
    cmpb $0xFF, %al
    je 3f
    movw $0x3F8, %dx
    outb %al, %dx
    jmp 1b
3:
"""
HALT = "4: cli; hlt; jmp 4b"
HANG = "4: cli; jmp 4b"
RESET = "movb $0xFE, %al; outb %al, $0x64; 4: jmp 4b"
TRIPLE_FAULT = "lidt nothing; int3; nothing: .word 0; .long 0"
FLOOD = "xorw %ax, %ax; movw %ax, %ds; movw $message, %si; jmp 1b"
# Wakes the second CPU, which prints 2 and then does what SECOND says, while the first prints and ends.
SECOND_CPU = """
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw $second, %si
    movw $0x8000, %di
    movw $(second_end - second), %cx
    rep movsb
    movw $0x9000, %sp
    lgdt pointer
    cli
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $8, %bx
    movw %bx, %fs
    andb $0xFE, %al
    movl %eax, %cr0
    movl $0xFEE00300, %ebx
    movl $0x000C4500, %fs:(%ebx)
    movl $2000000, %ecx
11: decl %ecx
    jnz 11b
    movl $0x000C4608, %fs:(%ebx)
    movl $4000000, %ecx
12: decl %ecx
    jnz 12b
    jmp 13f
    .balign 8
gdt: .quad 0, 0x008F92000000FFFF
pointer: .word 15
    .long gdt
second: cli
    movw $0x3F8, %dx
    movb $'2', %al
    outb %al, %dx
    SECOND
second_end:
13:
"""
# The ways out of suites: QEMU's isa-debug-exit (then on, as where there is none), and the word that switches Bochs off.
LEAVE = "movb $3, %al; outb %al, $0xF4; 4: cli; hlt; jmp 4b"
SHUT_DOWN = 'movw $8, %cx; movw $word, %si; movw $0x8900, %dx; rep outsb; 4: jmp 4b; word: .ascii "Shutdown"'
# Prints the message, leaves, and goes on to print: what a way out does not end at once.
LEAVE_AND_PRINT = "movb $3, %al; outb %al, $0xF4; " + FLOOD
SHUT_DOWN_AND_PRINT = (
    'movw $8, %cx; movw $word, %si; movw $0x8900, %dx; rep outsb; jmp 9f; word: .ascii "Shutdown"; 9: ' + FLOOD
)
# Calls Bochs' debugger, as a letter on the port of SHUT_DOWN does; nothing happens elsewhere.
CALL_DEBUGGER = "movb $0x44, %al; movw $0x8900, %dx; outb %al, %dx\n"
# Says on port 0xE9 what looks like the words of Bochs' debugger, which come on the same stream.
DEBUG_WORDS = b"port e9\nNext at t=5\n(0) [0x0] fake\n<bochs:2> \x01\xc3\x28\nlast"
DEBUG = f"""
    xorw %ax, %ax
    movw %ax, %ds
    movw $debug, %si
    movw ${len(DEBUG_WORDS)}, %cx
    movw $0xE9, %dx
    rep outsb
    jmp 7f
debug: .byte {", ".join(str(byte) for byte in DEBUG_WORDS)}
7:
"""
# Computes for a second or more under Bochs.
LINGER = "movl $100000000, %ecx; 8: decl %ecx; jnz 8b\n"
# Shows HELLO at the beginning of row 20, by writing text memory.
SHOW = """
    movw $0xB800, %ax
    movw %ax, %es
    movw $(20 * 160), %di
    movb $0x07, %ah
    movw $word, %si
5:  lodsb
    testb %al, %al
    jz 6f
    stosw
    jmp 5b
word: .asciz "HELLO"
6:
"""


# Prints six lines by the BIOS, below what the firmware said; the third ends with DIGIT.
TELETYPE = """
    xorw %ax, %ax
    movw %ax, %ds
    movb $'0', digit
    DIGIT
    movw $lines, %si
teletype: lodsb
    testb %al, %al
    jz told
    movb $0x0E, %ah
    movw $7, %bx
    int $0x10
    jmp teletype
lines: .ascii "one\\r\\ntwo\\r\\nthree: "
digit: .asciz "0\\r\\n\\r\\nfour\\r\\nfive\\r\\nsix\\r\\n"
told:
"""
# By CPUID's bit for a hypervisor, as UNLIKE.
UNLIKE_DIGIT = "movl $1, %eax; cpuid; btl $31, %ecx; adcb $0, digit"
# Waits for a key, which nobody presses.
WAIT_FOR_A_KEY = "4: xorb %ah, %ah; int $0x16; jmp 4b"


def boot_sector(folder: Path, message: bytes, ending: str, *, before: str = "") -> Path:
    """A 512-byte image in `folder` that runs `before`, prints `message` and ends by `ending`."""
    data = ", ".join(str(byte) for byte in message + b"\xff")
    source = (
        f".code16\n.globl _start\n_start: cld\n{before}{PRINT}{ending}\nmessage: .byte {data}\n.org 510\n.word 0xAA55\n"
    )
    (folder / "guest.S").write_text(source)
    image = folder / "guest.img"
    for argv in (
        ["gcc", "-m32", "-c", "guest.S", "-o", "guest.o"],
        ["ld", "-m", "elf_i386", "-Ttext", "0x7C00", "--oformat", "binary", "-o", image.name, "guest.o"],
    ):
        subprocess.run(argv, cwd=folder, check=True)
    return image


# A multiboot kernel that says what it was told and prints results as suites do. %ebx: the multiboot information.
KERNEL = """
    .section .text
    .long 0x1BADB002, 3, -(0x1BADB002 + 3)
    .globl _start
_start: movl $stack, %esp
    movl %ebx, %ebp
    movl $told, %esi
    call print
    movl 16(%ebp), %esi
    call print
    movl $newline, %esi
    call print
    movl 24(%ebp), %edi         # the first module: start, end, string
    movl $module, %esi
    call print
    movl 8(%edi), %esi
    call print
    movl $newline, %esi
    call print
    movl 4(%edi), %ecx
    movl (%edi), %esi
    subl %esi, %ecx
    movl $0xE9, %edx
    rep outsb                   # its content
    movl $results, %esi
    call print
    RESULT
    movl $summary, %esi
    call print
    movb $1, %al
    outb %al, $0xF4
1:  cli
    hlt
    jmp 1b
print: movl $0x3FD, %edx
2:  inb %dx, %al
    testb $0x20, %al
    jz 2b
    lodsb
    testb %al, %al
    jz 3f
    movl $0x3F8, %edx
    outb %al, %dx
    jmp print
3:  ret
told: .asciz "told: "
module: .asciz "module: "
newline: .asciz "\\n"
results: .asciz "PASS: first (took 123456 cycles)\\nSKIP: second\\n"
passed: .asciz "PASS: third\\n"
failed: .asciz "FAIL: third\\n"
summary: .asciz "SUMMARY: 3 tests, 1 skipped\\n"
    .bss
    .skip 4096
stack:
"""
ALIKE = "movl $passed, %esi; call print"
# By the vendor words of a hypervisor's CPUID leaf, which Bochs has none of: FAIL under QEMU, PASS under Bochs.
UNLIKE = "movl $1, %eax; cpuid; movl $passed, %esi; btl $31, %ecx; jnc 4f; movl $failed, %esi; 4: call print"


def kernel(folder: Path, result: str = ALIKE) -> Path:
    """A multiboot kernel (ELF) in `folder`, whose third result is told by `result`."""
    (folder / "kernel.S").write_text(KERNEL.replace("RESULT", result))
    for argv in (
        ["gcc", "-m32", "-c", "kernel.S", "-o", "kernel.o"],
        ["ld", "-m", "elf_i386", "-Ttext", "0x200000", "kernel.o", "-o", "kernel.elf"],
    ):
        subprocess.run(argv, cwd=folder, check=True)
    return folder / "kernel.elf"


# Reads an MSR that no CPU has, and the first sector of the hard disk, whose first bytes it puts where the message
# begins.
READ_SECOND = """
    movl $0xDEAD, %ecx
    rdmsr
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw $0x0201, %ax
    movw $0x8000, %bx
    movw $1, %cx
    movw $0x80, %dx
    int $0x13
    movw $0x8000, %si
    movw $message, %di
    movw $4, %cx
    cld
    rep movsb
"""


# Size of a floppy: cylinders, heads, sectors of a track.
GEOMETRIES = {
    163_840: (40, 1, 8),
    368_640: (40, 2, 9),
    737_280: (80, 2, 9),
    1_228_800: (80, 2, 15),
    1_474_560: (80, 2, 18),
    2_949_120: (80, 2, 36),
}


def floppy(folder: Path, size: int) -> Path:
    """A floppy whose boot sector says from which drive it came, and what the last sector of the floppy begins with."""
    cylinders, heads, sectors = GEOMETRIES[size]
    read = f"""
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        addb $'0', %dl
        movb %dl, message
        subb $'0', %dl
        movw $0x0201, %ax
        movw $0x8000, %bx
        movw ${(cylinders - 1) << 8 | sectors}, %cx
        movb ${heads - 1}, %dh
        int $0x13
        movw $0x8000, %si
        movw $message + 2, %di
        movw $4, %cx
        cld
        rep movsb
    """
    sector = boot_sector(folder, b"_ ____\n", HALT, before=read).read_bytes()
    image = folder / f"{size}.img"
    image.write_bytes(sector.ljust(size - 512, b"\0") + b"wxyz".ljust(512, b"\0"))
    return image


def cd(folder: Path, sector: Path) -> Path:
    """A CD that boots a boot sector, as El Torito has it: volume descriptors, a catalog with one entry, the sector."""
    entry = struct.pack(
        "<BBHBBHI20x", 0x88, 0, 0, 0, 0, 4, 19
    )  # bootable, no emulation, four 512-byte sectors from sector 19
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"", 0, 0x55, 0xAA))
    struct.pack_into("<H", validation, 28, -sum(struct.unpack("<16H", validation)) & 0xFFFF)
    sectors = [
        *[b""] * 16,
        b"\x01CD001\x01",
        b"\0CD001\x01EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", 18),
        bytes(validation) + entry,
        sector.read_bytes(),
    ]
    image = folder / "cd.iso"
    image.write_bytes(b"".join(one.ljust(2048, b"\0") for one in sectors))
    return image


def kernel_case(folder: Path) -> Path:
    """A case of a kernel with a command line and a module."""
    folder = folder / "kernel-case"
    folder.mkdir()
    kernel(folder)
    (folder / "env.txt").write_bytes(b"A=1\n")
    manifest = 'name = "kernel-case"\nimage = "kernel.elf"\ncommand_line = "one two=2"\nmodules = ["env.txt -v"]\n'
    (folder / "case.toml").write_text(manifest)
    return folder


def cd_case(folder: Path) -> Path:
    """A case of a CD that reads the second disk, which is the only hard disk, and an MSR that is not there."""
    folder = folder / "cd-case"
    folder.mkdir()
    cd(folder, boot_sector(folder, b"____ and the rest\n", HALT, before=READ_SECOND))
    (folder / "second.bin").write_bytes(b"wxyz".ljust(512, b"\0"))
    (folder / "case.toml").write_text(
        'name = "cd-case"\nimage = "cd.iso"\nsecond_image = "second.bin"\nignore_msrs = true\n'
    )
    return folder
